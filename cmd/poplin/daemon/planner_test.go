package daemon

import (
	"net/netip"
	"testing"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

const podText = `---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {nodeName: node-1}
`

// factsOf are the facts of node-1 about some documents.
func factsOf(t *testing.T, documents string, members overlay.Snapshot) facts {
	return facts{
		node: "node-1", revision: &revision{Config: configOf(t, map[string]string{"all.yaml": documents}), ID: "r1"},
		members: members, underlay: compile.Underlay{Link: "eth0", MTU: 1500, Addresses: addrs("192.0.2.1")}, gossip: true,
	}
}

// TestReachIsCompleteOnlyWhenAllIsKnown: deletions wait for that.
func TestReachIsCompleteOnlyWhenAllIsKnown(t *testing.T) {
	claim := func(stage overlay.Stage) []overlay.ClaimStatus {
		return []overlay.ClaimStatus{{Prefix: netip.MustParsePrefix("10.244.7.0/24"), Stage: stage}}
	}
	pinned := rosterText + podText
	for _, c := range []struct {
		name      string
		documents string
		members   overlay.Snapshot
		once      bool
		complete  bool
		waiting   string
		pods      int
	}{
		{"pinned, gossip joined", pinned, overlay.Snapshot{Joined: true}, false, true, "", 1},
		{"pinned, gossip not joined yet", pinned, overlay.Snapshot{}, false, false, "", 1},
		{"pinned, gossip waits for its key", pinned, overlay.Snapshot{Waiting: "a key"}, false, false, "a key", 1},
		{"pinned, without gossip", pinned, overlay.Snapshot{}, true, true, "", 1},
		{"no claim yet", clusterHead + podText, overlay.Snapshot{Joined: true}, false, false, "a subnet: none is pinned to this node and none is claimed yet", 0},
		{"a proposed claim", clusterHead + podText, overlay.Snapshot{Joined: true, Claims: claim(overlay.Proposed)}, false, false, "a subnet: none is pinned to this node and none is claimed yet", 0},
		{"a confirmed claim", clusterHead + podText, overlay.Snapshot{Joined: true, Claims: claim(overlay.Confirmed)}, false, true, "", 1},
		{"a lost claim whose pods run", clusterHead + podText, overlay.Snapshot{Joined: true, Claims: claim(overlay.Lost)}, false, true, "", 1},
		{"no subnet, without gossip", clusterHead + podText, overlay.Snapshot{}, true, false, "a subnet: none is pinned to this node", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := factsOf(t, c.documents, c.members)
			f.gossip = !c.once
			g := reach(f, compile.New())
			if g.complete != c.complete || g.waiting != c.waiting || len(g.view.Self.Pods) != c.pods {
				t.Errorf("complete %v, waiting %q, %d pods", g.complete, g.waiting, len(g.view.Self.Pods))
			}
			if err := g.State.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAPodIsReadyWhileItsInterfaceIsThere covers a pod that is new, one that
// is there, and one that is being repaired.
func TestAPodIsReadyWhileItsInterfaceIsThere(t *testing.T) {
	f := factsOf(t, rosterText+podText, overlay.Snapshot{Joined: true})
	ready := func(f facts) bool { return reach(f, compile.New()).view.Self.Pods[0].Ready }
	link := reconciler.Link{Netns: "default_web", Name: "eth0", Type: reconciler.LinkVeth}
	down := link
	down.Down = true
	observe := func(l reconciler.Link) reconciler.State {
		return reconciler.NewState(&reconciler.Group{Name: "observed", Objects: []reconciler.Object{l}})
	}
	if ready(f) {
		t.Error("ready before it is there")
	}
	f.observed = observe(link)
	if !ready(f) {
		t.Error("not ready although it is there")
	}
	f.observed = observe(down)
	if ready(f) {
		t.Error("ready although its interface is down")
	}
	f.standing = map[string]bool{"default_web": true}
	if !ready(f) {
		t.Error("not ready while it is repaired")
	}
}

func TestAddressesStayWithTheirPods(t *testing.T) {
	f := factsOf(t, rosterText+podText, overlay.Snapshot{Joined: true})
	f.addresses = map[schema.Name][]netip.Addr{{Namespace: "default", Name: "web"}: addrs("10.244.1.99")}
	if g := reach(f, compile.New()); !sameAddresses(g.addresses, f.addresses) {
		t.Errorf("%v", g.addresses)
	}
}

// TestNoNewAddressesWhereTheyCannotBeKept: the pods that have some go on.
func TestNoNewAddressesWhereTheyCannotBeKept(t *testing.T) {
	const second = `---
apiVersion: v1
kind: Pod
metadata: {name: api}
spec: {nodeName: node-1}
`
	f := factsOf(t, rosterText+podText+second, overlay.Snapshot{Joined: true})
	f.addresses = map[schema.Name][]netip.Addr{{Namespace: "default", Name: "web"}: addrs("10.244.1.99")}
	f.frozen = true
	if g := reach(f, compile.New()); !sameAddresses(g.addresses, f.addresses) || len(g.view.Self.Pods) != 1 {
		t.Errorf("%v", g.addresses)
	}
}

func TestCause(t *testing.T) {
	last := inputs{digest: "a"}
	moved, alone := compile.Underlay{Link: "v"}, []view.Peer{{Name: "n"}}
	for _, c := range []struct {
		before, now inputs
		want        reconciler.Cause
	}{
		{inputs{}, last, reconciler.CauseStart},
		{last, inputs{digest: "b", underlay: moved, peers: alone}, reconciler.CauseConfig},
		{last, inputs{digest: "a", underlay: moved, peers: alone}, reconciler.CauseHost},
		{last, inputs{digest: "a", peers: alone}, reconciler.CauseMembership},
		{last, last, reconciler.CauseHealth},
	} {
		if got := c.before.cause(c.now); got != c.want {
			t.Errorf("%v → %v: %s, want %s", c.before, c.now, got, c.want)
		}
	}
}
