package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// ranges8000 makes the state of a service on ports 8000 to 8999 of the cluster
// IP and of an external address, with the endpoints of one name each.
func (w *network) ranges8000(names string) reconciler.State {
	h := w.ranges()
	g := &reconciler.Group{Name: "service ranges"}
	for i, f := range families() {
		h.Objects = append(h.Objects,
			reconciler.Element{Family: f, Set: reconciler.SetClusterAddresses, Address: netip.MustParseAddr(vips[i])},
			reconciler.Element{Family: f, Set: reconciler.SetLoadBalancerAddresses, Address: netip.MustParseAddr(externals[i])},
			reconciler.Element{Family: f, Set: reconciler.SetHairpin, Address: netip.MustParseAddr(podsA[i])})
		chain := reconciler.Chain{Family: f, Method: reconciler.MethodRange, Slots: len(names)}
		goes := chain.Name()
		if len(names) > 0 {
			h.Objects = append(h.Objects, chain)
		} else {
			goes = reconciler.ChainRefuse
		}
		for _, address := range []string{vips[i], externals[i]} {
			for _, p := range []reconciler.Protocol{reconciler.TCP, reconciler.UDP} {
				base := reconciler.Element{Family: f, Address: netip.MustParseAddr(address), Protocol: p}
				entry := base
				entry.Set, entry.Port, entry.LastPort, entry.Chain = reconciler.SetPortRanges, 8000, 8999, goes
				g.Objects = append(g.Objects, entry)
				for slot, name := range names {
					e := base
					pod := map[rune]string{'a': podsA[i], 'c': podsC[i]}[name]
					e.Set, e.Slot, e.Target = reconciler.SetRangeEndpoints, uint32(slot), netip.AddrPortFrom(netip.MustParseAddr(pod), 0)
					g.Objects = append(g.Objects, e)
				}
			}
		}
	}
	return reconciler.NewState(h, g)
}

func TestPortRanges(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podC, "c", podsC)
	for _, names := range []string{"a", "ac", "c", ""} {
		want := w.ranges8000(names)
		reach(t, w.target, want)
		expect(t, w.node, w.target, want)
		w.node.run("nft list ruleset >/dev/null; nft -j list ruleset > /dev/null")
		for i, f := range families() {
			for _, proto := range []string{"tcp", "udp"} {
				t.Run(fmt.Sprint(names, " ", f, " ", proto), func(t *testing.T) { w.portRange(t, i, proto, names) })
			}
		}
	}
}

func (w *network) portRange(t *testing.T, i int, proto, names string) {
	for _, c := range []struct {
		name, to string
		from     *netns
		a, c     string // the client that each server sees
	}{
		{"pod", vips[i], w.podB, podsB[i], podsB[i]},
		{"pod to itself", vips[i], w.podA, bridge[i], podsA[i]},
		{"host", vips[i], w.node, bridge[i], bridge[i]},
		{"outside", vips[i], w.client, client[i], nodes[i]},
		{"outside to external", externals[i], w.client, client[i], nodes[i]},
	} {
		got, err := c.from.ask(proto, c.to, 8080)
		switch {
		case names == "":
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: %q, %v", c.name, got, err)
			}
		case err != nil || !(names != "c" && got == "a "+c.a || names != "a" && got == "c "+c.c):
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		for _, port := range []uint16{8081, 7999, 9000} { // nothing there; outside of the range
			if got, err := c.from.ask(proto, c.to, port); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s, port %d: %q, %v", c.name, port, got, err)
			}
		}
	}
}

// A client that keeps sending from one port follows the endpoints.
func TestStaleConnectionsOfPortRanges(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podC, "c", podsC)
	reach(t, w.target, w.ranges8000("a"))
	for i, f := range families() {
		c, err := w.podB.dial("udp", vips[i], 8080)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		for _, names := range []string{"a", "c", "a"} {
			reach(t, w.target, w.ranges8000(names))
			if got, err := exchange(c, "udp"); err != nil || got != names+" "+podsB[i] {
				t.Errorf("%s with %s: %q, %v", f, names, got, err)
			}
		}
	}
}
