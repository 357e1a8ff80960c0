package daemon

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// peersOf joins what documents say of other nodes with what gossip says: the
// roster's addresses and pinned subnets, claims as the ledger resolves them,
// liveness, pods. Where a node has not said its backend yet, it is taken to
// use the Cluster's own, so that pinned subnets need no gossip.
func peersOf(c *schema.Config, self string, members overlay.Snapshot) []view.Peer {
	return heardPods(nil).peers(c, self, members)
}

// heardPods remembers the pods that nodes told of, so that those of a node
// which says the same as before are the same slice. It may be nil.
type heardPods map[string]heardFrom

type heardFrom struct {
	entries []overlay.PodEntry
	pods    []view.Pod
}

// of turns what a node says into pods.
func (h heardPods) of(node string, entries []overlay.PodEntry) []view.Pod {
	known := h[node]
	if len(entries) > 0 && len(known.entries) == len(entries) && &known.entries[0] == &entries[0] {
		return known.pods
	}
	pods := podsOf(entries)
	if h != nil {
		h[node] = heardFrom{entries, pods}
	}
	return pods
}

// peers is peersOf with a memory.
func (h heardPods) peers(c *schema.Config, self string, members overlay.Snapshot) []view.Peer {
	peers := map[string]*view.Peer{}
	peer := func(name string) *view.Peer {
		if peers[name] == nil {
			peers[name] = &view.Peer{
				Name: name, State: view.Failed,
				Backend: ownBackend(c.Cluster, name),
			}
			if !members.Joined {
				peers[name].State = view.Alive
			}
		}
		return peers[name]
	}
	for _, n := range c.Nodes {
		p := peer(n.Meta.Name.Name)
		p.Underlay, p.MTU = underlayAddresses(n), 0
		if n.External {
			p.State = view.Alive
			p.Backend.MAC = n.VTEPMAC
		}
	}
	for _, m := range members.Peers {
		if m.Underlay == nil && m.Backend == "" {
			if peers[m.Name] != nil && m.State == overlay.PeerAlive {
				peers[m.Name].State = view.Alive
			}
			continue
		}
		p := peer(m.Name)
		p.Underlay, p.MTU = m.Underlay, m.MTU
		if m.Backend != "" {
			p.Backend, p.PublicKey = backendOf(m), m.PublicKey
		}
		p.State = view.Failed
		if m.State == overlay.PeerAlive || !members.Joined {
			p.State = view.Alive
		}
		p.Pods, p.Health = h.of(m.Name, m.Pods), m.Health
	}
	for _, s := range c.Subnets {
		if s.Node != "" {
			p := peer(s.Node)
			p.Subnets = append(p.Subnets, s.CIDRs...)
		}
	}
	for _, o := range members.Owners {
		if o.Node != self {
			p := peer(o.Node)
			p.Subnets = append(p.Subnets, o.Prefix)
		}
	}
	delete(peers, self)
	out := make([]view.Peer, 0, len(peers))
	for _, p := range peers {
		slices.SortFunc(p.Subnets, comparePrefixes)
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b view.Peer) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func podsOf(entries []overlay.PodEntry) []view.Pod {
	out := make([]view.Pod, len(entries))
	for i, e := range entries {
		out[i] = view.Pod{Namespace: e.Namespace, Name: e.Name, Addresses: e.Addresses, Ready: e.Ready}
	}
	return out
}

// staticPods are the pods of other nodes whose addresses stand in the
// documents: all that is known of them without gossip.
func staticPods(c *schema.Config, peers []view.Peer) {
	for i := range peers {
		for _, p := range c.Pods {
			if p.NodeName == peers[i].Name && len(p.StaticIPs) > 0 {
				peers[i].Pods = append(peers[i].Pods, view.Pod{Namespace: p.Namespace, Name: p.Meta.Name.Name, Addresses: p.StaticIPs, Ready: true})
			}
		}
	}
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
