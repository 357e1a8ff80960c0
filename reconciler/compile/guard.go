package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// guard asks for the elements by which forged packets are known: which of this
// node's ports are for peers only, and which sources may come in over which
// link. What comes through the backends udp and wireguard is not looked at
// again: their processes, or the kernel's keys, know which peer sent it.
//
// How packets come is this node's to say: a peer sends as this node
// announces, or as it did until lately. So the subnets of all peers count
// wherever one of them may come from.
func (b *builder) guard() *reconciler.Group {
	if len(b.subnets) == 0 || !b.local().IsValid() {
		return nil
	}
	g := &reconciler.Group{Name: "nftables guard", Origin: b.origin(b.cluster.Place)}
	b.guardPorts(g)
	b.guardLinks(g)
	if len(g.Objects) == 0 {
		return nil
	}
	return g
}

// tables are the families that have a table: those of the cluster's ranges,
// and that of the tunnels between nodes, whose ports are guarded there.
func (b *builder) tables() []reconciler.Family {
	outer := reconciler.FamilyOf(b.local())
	if b.has(outer) || !b.local().IsValid() || len(b.tunnelPorts()) == 0 {
		return b.families
	}
	return append(slices.Clone(b.families), outer)
}

// tunnelPorts are the UDP ports at which this node takes packets from peers
// that do not prove who they are.
func (b *builder) tunnelPorts() []uint16 {
	var out []uint16
	if b.needs(schema.BackendUDP) {
		out = append(out, b.tunnelPort())
	}
	for _, s := range b.segments() {
		if !slices.Contains(out, s.port) {
			out = append(out, s.port)
		}
	}
	return out
}

// guardPorts lets only peers send to the tunnels' ports.
func (b *builder) guardPorts(g *reconciler.Group) {
	ports, f := b.tunnelPorts(), reconciler.FamilyOf(b.local())
	for _, port := range ports {
		e := reconciler.Element{Family: f, Set: reconciler.SetUnknownPeers, Protocol: reconciler.UDP, Port: port}
		g.Objects = append(g.Objects, e)
		e.Set, e.Chain = reconciler.SetTunnelPorts, reconciler.ChainGuardPort
		g.Objects = append(g.Objects, e)
	}
	if len(ports) == 0 {
		return
	}
	seen := map[netip.Addr]bool{} // two peers may have said the same
	for _, p := range b.View.Peers {
		for _, a := range p.Underlay {
			if reconciler.FamilyOf(a) == f && !seen[a] {
				seen[a] = true
				g.Objects = append(g.Objects, reconciler.Element{Family: f, Set: reconciler.SetTunnelPeers, Address: a})
			}
		}
	}
}

// guardLinks says which sources may come in over which link.
func (b *builder) guardLinks(g *reconciler.Group) {
	var links []reconciler.Element
	for _, s := range b.segments() {
		links = append(links, reconciler.Element{Link: s.link(), Chain: reconciler.ChainGuardTunnel})
	}
	if chain := b.underlayGuard(); chain != "" && b.Host.Underlay.Link != "" {
		links = append(links, reconciler.Element{Link: b.Host.Underlay.Link, Chain: chain})
	}
	if len(links) == 0 {
		return
	}
	for _, f := range b.families {
		for _, e := range links {
			e.Family, e.Set = f, reconciler.SetGuardedLinks
			g.Objects = append(g.Objects, e)
			e.Set, e.Chain = reconciler.SetForeignSources, ""
			g.Objects = append(g.Objects, e)
		}
	}
	for _, p := range b.peerSubnets() {
		g.Objects = append(g.Objects, reconciler.Element{Family: reconciler.FamilyOf(p.Addr()), Set: reconciler.SetPeerSubnets, Prefix: p})
	}
}

// underlayGuard is the chain for what comes in over the underlay; "": it is
// not looked at. With the backend none the network routes pods' packets, also
// those of pods that no node here owns and by whichever link it likes; which of
// them are right is its routers' to know.
func (b *builder) underlayGuard() string {
	is := func(kind schema.Backend) func(view.Backend) bool {
		return func(o view.Backend) bool { return o.Kind == string(kind) }
	}
	accepted := b.accepted()
	switch {
	case slices.ContainsFunc(accepted, is(schema.BackendNone)):
		return ""
	case slices.ContainsFunc(accepted, is(schema.BackendHostGW)),
		slices.ContainsFunc(accepted, func(o view.Backend) bool { return o.Direct }),
		b.podsShow():
		return reconciler.ChainGuardDirect
	}
	return reconciler.ChainGuardPods
}

// podsShow reports whether pods may reach hosts with their own addresses,
// beside the tunnel: they are not masqueraded, or not towards all.
func (b *builder) podsShow() bool {
	m := b.cluster.Masquerade
	return !m.Enabled || len(m.Exclude) > 0 || slices.ContainsFunc(b.Config.Subnets, func(s *schema.Subnet) bool { return !s.Masquerade })
}

// peerSubnets are those of all peers, sorted, without what lies inside others:
// the kernel refuses overlapping intervals. What this node owns no peer may
// use, see owns.
func (b *builder) peerSubnets() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range b.View.Peers {
		for _, subnet := range p.Subnets {
			if b.has(reconciler.FamilyOf(subnet.Addr())) && !b.owns(subnet) {
				all = append(all, subnet.Masked())
			}
		}
	}
	slices.SortFunc(all, func(x, y netip.Prefix) int {
		return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(x.Bits(), y.Bits()))
	})
	out := all[:0]
	for _, p := range all {
		if n := len(out); n == 0 || !out[n-1].Contains(p.Addr()) {
			out = append(out, p)
		}
	}
	return out
}
