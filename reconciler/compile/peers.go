package compile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// peers asks for the way to every peer's subnets, each as that peer
// announces it. A failed peer keeps its routes.
func (b *builder) peers() []*reconciler.Group {
	var groups []*reconciler.Group
	if len(b.subnets) == 0 {
		return nil
	}
	for _, p := range b.View.Peers {
		g := &reconciler.Group{Name: "peer " + p.Name, Origin: b.peerOrigin(p.Name)}
		for _, subnet := range p.Subnets {
			g.Objects = append(g.Objects, b.way(p, subnet)...)
		}
		groups = append(groups, g)
	}
	return groups
}

// peerOrigin is the Node document of a peer, or the Cluster.
func (b *builder) peerOrigin(name string) reconciler.Origin {
	for _, n := range b.Config.Nodes {
		if n.Meta.Name.Name == name {
			return b.origin(n.Place)
		}
	}
	return b.origin(b.cluster.Place)
}

// way gives the objects that lead to one subnet of a peer.
func (b *builder) way(p view.Peer, subnet netip.Prefix) []reconciler.Object {
	switch schema.Backend(p.Backend.Kind) {
	case schema.BackendUDP:
		if next := b.onLink(p, subnet); b.cluster.Overlay.DirectRouting && next.IsValid() {
			return []reconciler.Object{b.direct(p, subnet, next)}
		}
		return b.tunnelled(p, subnet)
	case schema.BackendHostGW:
		if next := b.onLink(p, subnet); next.IsValid() {
			return []reconciler.Object{b.direct(p, subnet, next)}
		}
		b.problem(
			fmt.Sprintf("no route to %s of %s: backend host-gw needs an underlay address of the same family on the link %s", subnet, p.Name, b.Host.Underlay.Link),
			"put the nodes on one link, or set spec.overlay.backend: udp in the Cluster")
	}
	return nil
}

// direct is a plain route through the peer's underlay address. Its source is
// an address of this node's subnet, as pods' packets have.
func (b *builder) direct(p view.Peer, subnet netip.Prefix, next netip.Addr) reconciler.Object {
	return reconciler.Route{
		Destination: subnet, Gateway: next, Link: b.Host.Underlay.Link,
		Source: b.source(reconciler.FamilyOf(subnet.Addr())), MTU: b.pathMTU(p),
	}
}

func (b *builder) tunnelled(p view.Peer, subnet netip.Prefix) []reconciler.Object {
	if len(b.Host.Underlay.Addresses) == 0 {
		return nil
	}
	family := reconciler.FamilyOf(b.Host.Underlay.Addresses[0])
	i := slices.IndexFunc(p.Underlay, func(a netip.Addr) bool { return reconciler.FamilyOf(a) == family })
	if i < 0 {
		b.problem(fmt.Sprintf("no tunnel to %s: it has no %s underlay address, and this node uses %s", p.Name, family, b.Host.Underlay.Addresses[0]),
			"give both Nodes an address of one family, that one first")
		return nil
	}
	port := p.Backend.Port
	if port == 0 {
		port = DefaultUDPPort
	}
	return []reconciler.Object{
		reconciler.TunnelPeer{Device: TunnelDevice, Subnet: subnet, Endpoint: netip.AddrPortFrom(p.Underlay[i], port), Node: p.Name},
		reconciler.Route{Destination: subnet, Link: TunnelDevice, Source: b.tunnelSource(reconciler.FamilyOf(subnet.Addr())), MTU: b.pathMTU(p)},
	}
}

// onLink returns the peer's underlay address of the subnet's family if it is
// on this node's underlay link.
func (b *builder) onLink(p view.Peer, subnet netip.Prefix) netip.Addr {
	for _, a := range p.Underlay {
		if a.Is4() == subnet.Addr().Is4() && slices.ContainsFunc(b.Host.Underlay.OnLink, func(l netip.Prefix) bool { return l.Contains(a) }) {
			return a
		}
	}
	return netip.Addr{}
}

// pathMTU is the smaller of both ends' MTUs.
func (b *builder) pathMTU(p view.Peer) int {
	if p.MTU > 0 {
		return min(p.MTU, b.mtu)
	}
	return b.mtu
}
