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
// announces it. A failed peer keeps its routes. What is not the place of a
// Node document is the Cluster's.
func (b *builder) peers() []*reconciler.Group {
	var groups []*reconciler.Group
	if len(b.subnets) == 0 {
		return nil
	}
	places := map[string]schema.Place{}
	for _, n := range b.Config.Nodes {
		places[n.Meta.Name.Name] = n.Place
	}
	for _, p := range b.View.Peers {
		g := &reconciler.Group{Name: "peer " + p.Name, Origin: b.origin(b.cluster.Place)}
		if place, documented := places[p.Name]; documented {
			g.Origin = b.origin(place)
		}
		for _, subnet := range p.Subnets {
			if !b.owns(subnet) {
				g.Objects = append(g.Objects, b.way(p, subnet)...)
			}
		}
		groups = append(groups, g)
	}
	return groups
}

// owns reports whether a subnet is one of this node's. It is another node's
// too where this node lost its claim and pods here still use it: nothing is
// renumbered by itself, and gossip reports it.
func (b *builder) owns(subnet netip.Prefix) bool {
	return slices.ContainsFunc(b.subnets, func(s Subnet) bool { return slices.Contains(s.Prefixes, subnet) })
}

// way gives the objects that lead to one subnet of a peer, and back. While
// this node has a tunnel, every peer may send through it, whatever it
// announces: it may still follow a revision in which this node asked for the
// tunnel.
func (b *builder) way(p view.Peer, subnet netip.Prefix) []reconciler.Object {
	var out []reconciler.Object
	endpoint := b.tunnelEndpoint(p)
	if b.needsTunnel() && endpoint.IsValid() {
		out = append(out, reconciler.TunnelPeer{Device: TunnelDevice, Subnet: subnet, Endpoint: endpoint, Node: p.Name})
	}
	tunnelled := schema.Backend(p.Backend.Kind) == schema.BackendUDP
	next := b.onLink(p, subnet)
	switch {
	case schema.Backend(p.Backend.Kind) == schema.BackendNone:
		return nil
	case next.IsValid() && (!tunnelled || b.cluster.Overlay.DirectRouting):
		return append(out, b.direct(p, subnet, next))
	case tunnelled && endpoint.IsValid():
		return append(out, reconciler.Route{
			Destination: subnet, Link: TunnelDevice,
			Source: b.tunnelSource(reconciler.FamilyOf(subnet.Addr())), MTU: b.pathMTU(p),
		})
	case tunnelled:
		b.problem(fmt.Sprintf("no tunnel to %s: its underlay addresses %v and this node's %v share no family", p.Name, p.Underlay, b.Host.Underlay.Addresses),
			"give both Nodes an address of one family, that one first")
	default:
		b.problem(
			fmt.Sprintf("no route to %s of %s: backend host-gw needs an underlay address of the same family on the link %s", subnet, p.Name, b.Host.Underlay.Link),
			"put the nodes on one link, or set spec.overlay.backend: udp in the Cluster")
	}
	return out
}

// tunnelEndpoint is where a peer's tunnel listens: its underlay address of the
// family that this node's socket has.
func (b *builder) tunnelEndpoint(p view.Peer) netip.AddrPort {
	if len(b.Host.Underlay.Addresses) == 0 {
		return netip.AddrPort{}
	}
	port := p.Backend.Port
	if port == 0 {
		port = DefaultUDPPort
	}
	for _, a := range p.Underlay {
		if a.Is4() == b.Host.Underlay.Addresses[0].Is4() {
			return netip.AddrPortFrom(a, port)
		}
	}
	return netip.AddrPort{}
}

// direct is a plain route through the peer's underlay address. Its source is
// an address of this node's subnet, as pods' packets have.
func (b *builder) direct(p view.Peer, subnet netip.Prefix, next netip.Addr) reconciler.Object {
	return reconciler.Route{
		Destination: subnet, Gateway: next, Link: b.Host.Underlay.Link,
		Source: b.source(reconciler.FamilyOf(subnet.Addr())), MTU: b.pathMTU(p),
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
