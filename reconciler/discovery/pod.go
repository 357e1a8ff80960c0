package discovery

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler/view"
)

// nodePods are the pods of a node, and the addresses of those in its network.
type nodePods struct {
	pods     []view.Pod
	underlay []netip.Addr
}

// peers walks both lists, which are sorted by name, at the same time.
func (u *update) peers(before, after []view.Peer) {
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = cmp.Compare(before[0].Name, after[0].Name)
		}
		var old, next nodePods
		if order <= 0 {
			old, before = nodePods{before[0].Pods, before[0].Underlay}, before[1:]
		}
		if order >= 0 {
			next, after = nodePods{after[0].Pods, after[0].Underlay}, after[1:]
		}
		u.pods(old, next)
	}
}

// pods exchanges the names of one node's pods.
func (u *update) pods(old, next nodePods) {
	if slices.Equal(old.underlay, next.underlay) && (sameSlice(old.pods, next.pods) || slices.EqualFunc(old.pods, next.pods, samePod)) {
		return
	}
	u.exchange(old.records(u.pod), next.records(u.pod))
}

// samePod compares what names depend on.
func samePod(a, b view.Pod) bool {
	return a.Namespace == b.Namespace && slices.Equal(a.Addresses, b.Addresses)
}

// records are the names of pods (specification 2.6), for pods that exist.
func (n nodePods) records(suffix string) []shared {
	var out []shared
	for _, p := range n.pods {
		addresses := p.Addresses
		if len(addresses) == 0 {
			addresses = n.underlay
		}
		for _, a := range addresses {
			if name := label(dashed(a)) + label(p.Namespace) + suffix; len(name) <= greatestName {
				out = append(out, shared{name, addressType(a), string(a.AsSlice())})
			}
		}
	}
	return out
}
