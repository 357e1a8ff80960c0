package daemon

import (
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/view"
)

// inputs are what a desired state was computed from, to tell what made the
// next one different.
type inputs struct {
	digest   string
	underlay compile.Underlay
	joined   bool
	claims   []overlay.ClaimStatus
	owners   []overlay.Owner
	peers    []view.Peer
}

// cause tells what differs between the inputs of two rounds.
func (i inputs) cause(now inputs) reconciler.Cause {
	switch {
	case i.digest == "":
		return reconciler.CauseStart
	case i.digest != now.digest:
		return reconciler.CauseConfig
	case !i.underlay.Equal(now.underlay):
		return reconciler.CauseHost
	case !i.sameMembers(now):
		return reconciler.CauseMembership
	}
	return reconciler.CauseHealth
}

func (i inputs) sameMembers(now inputs) bool {
	return i.joined == now.joined && slices.Equal(i.claims, now.claims) && slices.Equal(i.owners, now.owners) &&
		slices.EqualFunc(i.peers, now.peers, samePresence)
}

// samePresence reports whether a view says the same of a peer but for the
// readiness of its pods.
func samePresence(a, b view.Peer) bool {
	if !a.SameNode(b) || a.Health != b.Health || len(a.Pods) != len(b.Pods) {
		return false
	}
	if len(a.Pods) == 0 || &a.Pods[0] == &b.Pods[0] {
		return true
	}
	return slices.EqualFunc(a.Pods, b.Pods, func(a, b view.Pod) bool {
		return a.Namespace == b.Namespace && a.Name == b.Name && slices.Equal[[]netip.Addr](a.Addresses, b.Addresses)
	})
}
