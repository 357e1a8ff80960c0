package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// externals are addresses that no machine has; the client's default route
// leads to node 1.
var externals = [2]string{"198.51.100.10", "2001:db8:1::10"}

// TestExternalAddresses has a service on an address outside of all ranges.
// Ports 1 to 3 have the policy Cluster, 11 to 13 Local. Ports 21 and 22 are
// for clients of the LAN only, and so is node port 30021; port 23 is for
// nobody.
func TestExternalAddresses(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podC, "c", podsC)
	h := w.ranges()
	var list []service
	for i, f := range families() {
		h.Objects = append(h.Objects, reconciler.Element{Family: f, Set: reconciler.SetLoadBalancerAddresses, Address: netip.MustParseAddr(externals[i])})
		h.Objects = append(h.Objects, reconciler.Element{Family: f, Set: reconciler.SetHairpin, Address: netip.MustParseAddr(podsA[i])})
		a, c := netip.AddrPortFrom(netip.MustParseAddr(podsA[i]), 8080), netip.AddrPortFrom(netip.MustParseAddr(podsC[i]), 8080)
		lan := []string{[]string{"192.0.2.64/26", "2001:db8::100/120"}[i]}
		for _, s := range []service{
			{port: 1, targets: []netip.AddrPort{a}},
			{port: 2, targets: []netip.AddrPort{c}},
			{port: 3},
			{port: 11, targets: []netip.AddrPort{a, c}, outsideLocal: true, local: []netip.AddrPort{a}},
			{port: 12, targets: []netip.AddrPort{c}, outsideLocal: true},
			{port: 21, targets: []netip.AddrPort{c}, sources: lan},
			{port: 22, targets: []netip.AddrPort{a, c}, sources: lan, outsideLocal: true, local: []netip.AddrPort{a}},
			{port: 23, targets: []netip.AddrPort{a}, sources: []string{[]string{"203.0.113.0/24", "2001:db8:2::/48"}[i]}},
			{port: 30021, nodePort: true, targets: []netip.AddrPort{a}, sources: lan},
		} {
			for _, p := range []reconciler.Protocol{reconciler.TCP, reconciler.UDP} {
				s.name, s.address, s.protocol, s.external = fmt.Sprint(s.port, p, f), netip.MustParseAddr(externals[i]), p, true
				list = append(list, s)
			}
		}
	}
	want := state(h, list...)
	reach(t, w.target, want)
	expect(t, w.node, w.target, want)
	for i, f := range families() {
		for _, proto := range []string{"tcp", "udp"} {
			t.Run(fmt.Sprint(f, " ", proto), func(t *testing.T) { w.external(t, i, proto) })
		}
		t.Run(fmt.Sprint(f, " ping"), func(t *testing.T) {
			for _, n := range []*netns{w.podA, w.node, w.client} {
				if _, err := n.try("ping -c 1 -W 2 " + externals[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// external goes through who reaches what; i is 0 for IPv4.
func (w *network) external(t *testing.T, i int, proto string) {
	for _, c := range []struct {
		name string
		from *netns
		port uint16
		want string // server and the client that it sees; "" is refused
	}{
		{"outside", w.client, 1, "a " + client[i]},
		{"outside, remote", w.client, 2, "c " + nodes[i]},
		{"outside, nobody", w.client, 3, ""},
		{"outside, no frontend", w.client, 99, ""},
		{"outside, Local", w.client, 11, "a " + client[i]},
		{"pod", w.podB, 1, "a " + podsB[i]},
		{"pod, itself", w.podA, 1, "a " + bridge[i]},
		{"pod, remote", w.podA, 2, "c " + podsA[i]},
		{"pod, Local, elsewhere", w.podA, 12, "c " + podsA[i]},
		{"pod, no frontend", w.podA, 99, ""},
		{"host", w.node, 1, "a "},
		{"host, remote", w.node, 2, "c " + nodes[i]},
		{"host, Local, elsewhere", w.node, 12, "c " + nodes[i]},
		{"outside, allowed", w.client, 21, "c " + nodes[i]},
		{"outside, allowed, Local", w.client, 22, "a " + client[i]},
	} {
		if c.from == w.node {
			c.from.run([]string{"ip route replace 198.51.100.0/24 dev eth0", "ip route replace 2001:db8:1::/48 dev eth0"}[i])
		}
		got, err := c.from.ask(proto, externals[i], c.port)
		switch {
		case c.want == "" && !errors.Is(err, unix.ECONNREFUSED):
			t.Errorf("%s: %q, %v", c.name, got, err)
		case c.want != "" && (err != nil || got != c.want && !(len(c.want) == 2 && got[:2] == c.want)):
			t.Errorf("%s: %q, %v, not %q", c.name, got, err, c.want)
		}
	}
	if got, err := w.client.ask(proto, nodes[i], 30021); err != nil || got != "a "+client[i] {
		t.Errorf("node port, allowed: %q, %v", got, err)
	}
	w.dropped(t, w.client, proto, externals[i], 12)
	w.dropped(t, w.client, proto, externals[i], 23)
	w.dropped(t, w.podA, proto, externals[i], 21)
	w.dropped(t, w.podA, proto, nodes[i], 30021)
}
