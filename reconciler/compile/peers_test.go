package compile

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/view"
)

// manyPeers is a node of a large cluster with a backend.
func manyPeers(t testing.TB, backend string, n int) Input {
	config := parseDocuments(t, map[string]string{"cluster.yaml": `apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: c}
spec: {podCIDRs: [10.0.0.0/8], serviceCIDRs: [172.16.0.0/16], overlay: {backend: ` + backend + `}}
`})
	own := view.Backend{Kind: backend, Port: config.Cluster.Overlay.Port, VNI: config.Cluster.Overlay.VNI}
	in := Input{Config: config, Host: parseHost(t, defaultHost), Revision: "r1"}
	in.View.Self = view.Self{Name: in.Host.Node, Subnets: []netip.Prefix{netip.MustParsePrefix("10.255.0.0/24")}}
	for i := range n {
		in.View.Peers = append(in.View.Peers, view.Peer{
			Name: fmt.Sprintf("node-%04d", i+2), State: view.Alive, Backend: own, MTU: 1400,
			Underlay:  []netip.Addr{netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})},
			Subnets:   []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)},
			PublicKey: fmt.Sprintf("key-%d", i),
		})
	}
	return in
}

// TestOneOfManyPeers sees that the entries of a peer that changed are all that
// is touched (its way, and who may send to the tunnel), and prints what that
// takes.
func TestOneOfManyPeers(t *testing.T) {
	const count = 1000
	for backend, want := range map[string]int{"udp": 3, "vxlan": 3, "wireguard": 1} {
		in := manyPeers(t, backend, count)
		c := New()
		start := time.Now()
		before := c.Compile(in).State
		plan := reconciler.Diff(reconciler.State{}, before)
		t.Logf("%s: %d peers: %d operations, %v", backend, count, len(plan), time.Since(start).Round(time.Millisecond))
		in.View.Peers = append([]view.Peer(nil), in.View.Peers...)
		in.View.Peers[500].Underlay = []netip.Addr{netip.MustParseAddr("198.19.0.1")}
		start = time.Now()
		after := c.Compile(in).State
		plan = reconciler.Diff(before, after)
		t.Logf("%s: one peer moved: %v, %v", backend, plan, time.Since(start).Round(10*time.Microsecond))
		if len(plan) != want || plan[0].Verb != reconciler.Change {
			t.Errorf("%s: %v", backend, plan)
		}
	}
}
