package linux_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

// vxlanPeers are a VXLAN link with n peers that have a subnet each.
func vxlanPeers(n, mtu int) []reconciler.Object {
	out := []reconciler.Object{vxlan}
	for i := range n {
		subnet := netip.AddrFrom4([4]byte{10, byte(100 + i>>8), byte(i), 0})
		mac := reconciler.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)}
		out = append(out,
			reconciler.Neighbour{Address: subnet, Link: vxlan.Name, MAC: mac},
			reconciler.FDBEntry{MAC: mac, Link: vxlan.Name, Destination: netip.AddrFrom4([4]byte{192, 0, byte(2 + i>>8), byte(i)})},
			reconciler.Route{Destination: netip.PrefixFrom(subnet, 24), Gateway: subnet, Link: vxlan.Name, Onlink: true, MTU: mtu})
	}
	return out
}

func TestManyPeers(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	const count = 1000
	n := newNode(t)
	n.run(t)
	timed := func(what string, objects []reconciler.Object, want int) {
		t.Helper()
		start := time.Now()
		round := n.settle(t, objects...)
		t.Logf("%s: %v, %d operations", what, time.Since(start).Round(time.Millisecond), len(round.Plan))
		if len(round.Plan) != want {
			t.Errorf("%s: %d operations, not %d", what, len(round.Plan), want)
		}
	}
	timed("make", vxlanPeers(count, 1450), 1+3*count)
	changed := vxlanPeers(count, 1450)
	for i, o := range changed {
		if e, ok := o.(reconciler.FDBEntry); ok {
			e.Destination = netip.MustParseAddr("192.0.9.9")
			changed[i] = e
			break
		}
	}
	timed("another address of one peer", changed, 1)
	timed("another MTU of all", vxlanPeers(count, 1400), 1+count)
	timed("remove", nil, 1+3*count)
}
