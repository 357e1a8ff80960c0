package daemon

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler/view"
)

const rosterText = clusterHead + `---
apiVersion: poplin/v1alpha1
kind: Node
metadata: {name: node-1}
spec: {addresses: [192.0.2.1]}
---
apiVersion: poplin/v1alpha1
kind: Node
metadata: {name: node-2}
spec: {addresses: [192.0.2.2]}
---
apiVersion: poplin/v1alpha1
kind: Node
metadata: {name: router}
spec: {addresses: [192.0.2.9], external: true}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: one}
spec: {cidrs: [10.244.1.0/24], node: node-1}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: two}
spec: {cidrs: [10.244.2.0/24], node: node-2}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: router}
spec: {cidrs: [10.244.9.0/24], node: router}
`

const clusterHead = `apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: c}
spec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]}
`

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestPeersOf(t *testing.T) {
	udp := view.Backend{Kind: "udp", Port: 8285}
	pod := overlay.PodEntry{Namespace: "default", Name: "web", Addresses: addrs("10.244.2.2"), Ready: true}
	node2 := overlay.Peer{
		Name: "node-2", State: overlay.PeerAlive, Underlay: addrs("198.51.100.2"), Backend: "host-gw", MTU: 1500, Pods: []overlay.PodEntry{pod},
	}
	failed := node2
	failed.State = overlay.PeerFailed
	heardPods := []view.Pod{{Namespace: "default", Name: "web", Addresses: addrs("10.244.2.2"), Ready: true}}
	heard := view.Peer{
		Name: "node-2", State: view.Alive, Underlay: addrs("198.51.100.2"), Backend: view.Backend{Kind: "host-gw"}, MTU: 1500,
		Subnets: prefixes("10.244.2.0/24"), Pods: heardPods,
	}
	heardFailed := heard
	heardFailed.State = view.Failed
	silent := view.Peer{Name: "node-2", State: view.Failed, Underlay: addrs("192.0.2.2"), Backend: udp, Subnets: prefixes("10.244.2.0/24")}
	documentsOnly := silent
	documentsOnly.State = view.Alive
	undecided := node2
	undecided.Backend = ""
	heardUndecided := heard
	heardUndecided.Backend = udp
	router := view.Peer{Name: "router", State: view.Alive, Underlay: addrs("192.0.2.9"), Backend: udp, Subnets: prefixes("10.244.9.0/24")}
	for _, c := range []struct {
		name      string
		documents string
		members   overlay.Snapshot
		want      []view.Peer
	}{
		{"without gossip everybody is taken for alive", rosterText, overlay.Snapshot{}, []view.Peer{documentsOnly, router}},
		{"with gossip who is silent has failed, but external nodes never", rosterText, overlay.Snapshot{Joined: true}, []view.Peer{silent, router}},
		{"what a node says counts before its document", rosterText, overlay.Snapshot{Joined: true, Peers: []overlay.Peer{node2}}, []view.Peer{heard, router}},
		{"a failed one keeps what it said", rosterText, overlay.Snapshot{Joined: true, Peers: []overlay.Peer{failed}}, []view.Peer{heardFailed, router}},
		{"one that does not say yet how to reach it is reached as the Cluster says", rosterText, overlay.Snapshot{Joined: true, Peers: []overlay.Peer{undecided}}, []view.Peer{heardUndecided, router}},
		{"before gossip is joined nobody has failed", rosterText, overlay.Snapshot{Peers: []overlay.Peer{failed}}, []view.Peer{heard, router}},
		{"alive, but its record is still to come", rosterText, overlay.Snapshot{Joined: true, Peers: []overlay.Peer{{Name: "node-2", State: overlay.PeerAlive}}}, []view.Peer{documentsOnly, router}},
		{
			"claims, without a roster; our own are not a peer's", clusterHead,
			overlay.Snapshot{Joined: true, Peers: []overlay.Peer{node2}, Owners: []overlay.Owner{
				{Prefix: netip.MustParsePrefix("10.244.7.0/24"), Node: "node-2"},
				{Prefix: netip.MustParsePrefix("10.244.5.0/24"), Node: "node-1"},
				{Prefix: netip.MustParsePrefix("10.244.3.0/24"), Node: "node-2"},
				{Prefix: netip.MustParsePrefix("10.244.8.0/24"), Node: "node-7"},
			}},
			[]view.Peer{
				func() view.Peer { p := heard; p.Subnets = prefixes("10.244.3.0/24", "10.244.7.0/24"); return p }(),
				{Name: "node-7", State: view.Failed, Backend: udp, Subnets: prefixes("10.244.8.0/24")},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := peersOf(configOf(t, map[string]string{"all.yaml": c.documents}), "node-1", c.members)
			opts := cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
			if diff := cmp.Diff(c.want, got, opts); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestStaticPodsAreKnownWithoutGossip(t *testing.T) {
	c := configOf(t, map[string]string{"all.yaml": rosterText + `---
apiVersion: v1
kind: Pod
metadata: {name: fixed, annotations: {poplin/ip: 10.244.2.77}}
spec: {nodeName: node-2}
---
apiVersion: v1
kind: Pod
metadata: {name: free}
spec: {nodeName: node-2}
`})
	peers := peersOf(c, "node-1", overlay.Snapshot{})
	staticPods(c, peers)
	if len(peers[0].Pods) != 1 || peers[0].Pods[0].Name != "fixed" || !peers[0].Pods[0].Ready {
		t.Errorf("%+v", peers[0].Pods)
	}
}

func TestOwnClaims(t *testing.T) {
	status := func(stage overlay.Stage) overlay.ClaimStatus {
		return overlay.ClaimStatus{Prefix: netip.MustParsePrefix("10.244.1.0/24"), Stage: stage}
	}
	for stage, used := range map[overlay.Stage]bool{overlay.Proposed: false, overlay.Confirmed: true, overlay.Lost: true} {
		claims, unsettled := ownClaims(overlay.Snapshot{Claims: []overlay.ClaimStatus{status(stage)}})
		if (len(claims) == 1) != used || unsettled == used {
			t.Errorf("%s: %v, unsettled %v", stage, claims, unsettled)
		}
	}
}
