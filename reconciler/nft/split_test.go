package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// A client that comes before a large table is whole is served all the same, by
// what it sends again: it is not refused.
func TestNobodyIsRefusedWhileALargeTableIsMade(t *testing.T) {
	n := newNetns(t)
	pod := netip.MustParseAddrPort("10.244.1.2:80")
	n.dark(t, pod)
	h := host(map[reconciler.SetName][]string{reconciler.SetServiceRanges: {"10.96.0.0/12"}})
	balanced := netip.MustParseAddr("203.0.113.1")
	h.Objects = append(h.Objects, reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetLoadBalancerAddresses, Address: balanced})
	list := []service{{name: "z", address: balanced, protocol: reconciler.TCP, port: 80, targets: []netip.AddrPort{pod}}}
	for i := range 5000 {
		list = append(list, service{name: fmt.Sprintf("s%04d", i), address: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}),
			protocol: reconciler.TCP, port: 80, targets: []netip.AddrPort{pod}})
	}
	want := state(h, list...)
	x := target(t, n)
	plan := reconciler.Diff(observe(t, x).State, want)
	steps := split(plan, reconciler.State{}, want)
	if len(steps) < 2 {
		t.Fatal("it is made in one transaction")
	}
	x.touch(plan, want)
	var clients []*attempt
	for _, step := range steps { // as Apply does
		for _, s := range []service{list[0], list[1], list[len(list)-1]} {
			clients = append(clients, n.attempt(t, netip.AddrPortFrom(s.address, s.port)))
		}
		if err := errors.Join(step.send(x.conn), x.conn.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	x.purger.add(t.Context(), x.touched, want)
	for _, c := range clients {
		eventually(t, fmt.Sprint("a connection to ", c.to), c.made)
	}
	expect(t, n, target(t, n), want)
	nobody := n.attempt(t, netip.MustParseAddrPort("10.96.255.1:80"))
	eventually(t, "a refusal where there is no frontend", func() bool {
		_, err := nobody.result()
		return errors.Is(err, unix.ECONNREFUSED)
	})
}

// A load balancer address says which connections by a range of ports are
// masqueraded: none may be made before it is there.
func TestRangesOfPortsComeWithTheirAddress(t *testing.T) {
	pick := reconciler.Chain{Family: reconciler.IPv4, Method: reconciler.MethodRange, Slots: 1}
	a, pod := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddrPort("10.244.1.2:0")
	ranges := &reconciler.Group{Name: "a", Objects: []reconciler.Object{pick,
		reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetLoadBalancerAddresses, Address: a},
		reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetPortRanges, Address: a, Protocol: reconciler.UDP, Port: 1, LastPort: 9, Chain: pick.Name()},
		reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetRangeEndpoints, Address: a, Protocol: reconciler.UDP, Target: pod}}}
	groups := []*reconciler.Group{ranges}
	for g := range many(4000, 5).Groups() {
		groups = append(groups, g)
	}
	want := reconciler.NewState(groups...)
	steps := split(reconciler.Diff(reconciler.State{}, want), reconciler.State{}, want)
	for _, set := range []reconciler.SetName{reconciler.SetLoadBalancerAddresses, reconciler.SetPortRanges} {
		for i, x := range steps {
			if there := x.sets[tableSet{reconciler.IPv4, set}] != nil; there != (i == len(steps)-1) {
				t.Errorf("transaction %d of %d has elements of %s: %t", i+1, len(steps), set, there)
			}
		}
	}
}

// Who has just started does not know which group it was that had what goes.
func TestOtherPrefixOfClientsInALargePlanAfterARestart(t *testing.T) {
	n := newNetns(t)
	for i, prefix := range []string{"10.0.0.0/16", "10.0.0.0/8", "10.0.0.0/24"} {
		restricted := service{name: "-", address: netip.MustParseAddr("203.0.113.1"), protocol: reconciler.TCP, port: 80, sources: []string{prefix}}
		groups := []*reconciler.Group{restricted.group()} // by its name the first
		for g := range many(4000, 1+5*(i%2)).Groups() {
			groups = append(groups, g)
		}
		want := reconciler.NewState(groups...)
		x := target(t, n)
		if err := rounds(t, reconciler.NewEngine(x), want); err != nil {
			t.Errorf("the round to %s failed: %v", prefix, err)
		}
		expect(t, n, x, want)
	}
}
