package services

import (
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// live is what is known of nodes, and of the pods on them, now.
type live struct {
	self  string // this node
	nodes map[string]*node
}

// node is one node: what documents say of it, and what it says itself.
type node struct {
	zone       string
	drain      bool
	documented []netip.Addr // underlay, for lack of announced

	announced []netip.Addr // underlay
	failed    bool
	health    bool       // it tells of pods in its own network
	pods      []view.Pod // sorted by namespace and name
}

// of returns what is known of a node; of an unknown one, nothing.
func (l *live) of(name string) *node {
	if n := l.nodes[name]; n != nil {
		return n
	}
	return &node{}
}

// at returns the node to write down what is known of it.
func (l *live) at(name string) *node {
	n := l.nodes[name]
	if n == nil {
		n = &node{}
		l.nodes[name] = n
	}
	return n
}

// say notes what a node says of itself, and reports whether that is news for
// all its endpoints.
func (n *node) say(underlay []netip.Addr, failed, health bool) bool {
	if slices.Equal(n.announced, underlay) && n.failed == failed && n.health == health {
		return false
	}
	n.announced, n.failed, n.health = underlay, failed, health
	return true
}

// host notes which pods a node has, and yields the names of those about which
// that is news.
func (n *node) host(pods []view.Pod, changed func(schema.Name)) {
	if sameSlice(n.pods, pods) {
		return
	}
	if !slices.IsSortedFunc(pods, view.ComparePods) {
		pods = slices.Clone(pods)
		slices.SortFunc(pods, view.ComparePods)
	}
	old := n.pods
	for _, p := range pods {
		for len(old) > 0 && view.ComparePods(old[0], p) < 0 {
			changed(nameOf(old[0]))
			old = old[1:]
		}
		if len(old) == 0 || view.ComparePods(old[0], p) != 0 {
			changed(nameOf(p))
			continue
		}
		if old[0].Ready != p.Ready || !slices.Equal(old[0].Addresses, p.Addresses) {
			changed(nameOf(p))
		}
		old = old[1:]
	}
	for _, p := range old {
		changed(nameOf(p))
	}
	n.pods = pods
}

func nameOf(p view.Pod) schema.Name { return schema.Name{Namespace: p.Namespace, Name: p.Name} }

// sameSlice reports whether two slices are one, without a look at what they
// hold.
func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// pod returns the address in a family of a pod that documents place on the
// node, if it has one, and whether it is ready. A pod in the host's network
// has its node's address; if its node is not one that tells of such pods (an
// earlier release, an external node), it is ready while the node is alive.
func (n *node) pod(p *schema.Pod, family schema.Family) (netip.Addr, bool) {
	var known view.Pod
	wanted := view.Pod{Namespace: p.Namespace, Name: p.Meta.Name.Name}
	i, found := slices.BinarySearchFunc(n.pods, wanted, view.ComparePods)
	if found {
		known = n.pods[i]
	}
	addresses, ready := known.Addresses, known.Ready
	if p.HostNetwork {
		addresses, ready = n.announced, known.Ready || !found && !n.health
		if len(addresses) == 0 {
			addresses = n.documented
		}
	}
	ready = ready && !n.failed
	for _, a := range addresses {
		if schema.FamilyOf(a) == family {
			return a, ready
		}
	}
	return netip.Addr{}, false
}
