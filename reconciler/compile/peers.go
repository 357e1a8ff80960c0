package compile

import (
	"cmp"
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
	b.udp, b.wg = b.needs(schema.BackendUDP), b.needs(schema.BackendWireGuard)
	b.vteps, b.keys = map[reconciler.FDBEntryKey]string{}, map[string]string{b.Host.PublicKey: "this node"}
	for _, p := range b.View.Peers {
		g := &reconciler.Group{Name: "peer " + p.Name, Origin: b.peerOrigin(p.Name)}
		g.Objects = append(g.Objects, b.vtepOf(p)...)
		key := b.publicKey(p)
		for _, subnet := range p.Subnets {
			if !b.owns(subnet) {
				g.Objects = append(g.Objects, b.way(p, subnet, key)...)
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

// peerOrigin is the Node document of a peer, or the Cluster.
func (b *builder) peerOrigin(name string) reconciler.Origin {
	if n := b.node(name); n != nil {
		return b.origin(n.Place)
	}
	return b.origin(b.cluster.Place)
}

// node is a node's document, or nil.
func (b *builder) node(name string) *schema.Node {
	if b.nodes == nil {
		b.nodes = make(map[string]*schema.Node, len(b.Config.Nodes))
		for _, n := range b.Config.Nodes {
			b.nodes[n.Meta.Name.Name] = n
		}
	}
	return b.nodes[name]
}

// way gives the objects that lead to one subnet of a peer, and back. While
// this node has a tunnel of the backends udp or wireguard, every peer may send
// through it, whatever it announces: it may still follow a revision in which
// this node asked for that. key is the peer's public key, if it has one.
func (b *builder) way(p view.Peer, subnet netip.Prefix, key string) []reconciler.Object {
	var out []reconciler.Object
	kind, end := schema.Backend(p.Backend.Kind), b.underlayOf(p)
	if b.udp && end.IsValid() {
		out = append(out, reconciler.TunnelPeer{Device: TunnelDevice, Subnet: subnet, Endpoint: netip.AddrPortFrom(end, udpPort(p)), Node: p.Name})
	}
	if b.wg && end.IsValid() && key != "" {
		out = append(out, b.wireguardPeer(p, subnet, end, key))
	}
	next := b.onLink(p, subnet)
	tunnelled := kind == schema.BackendUDP || kind == schema.BackendVXLAN
	switch {
	case kind == schema.BackendNone:
		return nil
	case next.IsValid() && (kind == schema.BackendHostGW || tunnelled && p.Backend.Direct):
		return append(out, b.direct(p, subnet, next))
	case kind == schema.BackendHostGW:
		b.problem(
			fmt.Sprintf("no route to %s of %s: backend host-gw needs an underlay address of the same family on the link %s", subnet, p.Name, b.Host.Underlay.Link),
			"put the nodes on one link, or set spec.overlay.backend: udp in the Cluster, with directRouting for those that are")
	case kind == schema.BackendWireGuard && key == "":
		return out // it will be heard, or was reported
	case !tunnelled && kind != schema.BackendWireGuard:
		b.problem(fmt.Sprintf("no route to %s of %s: its backend %q is not known here", subnet, p.Name, kind), "install the same version of poplin on all nodes")
	case !end.IsValid():
		b.problem(fmt.Sprintf("no tunnel to %s: its underlay addresses %v and this node's %v share no family", p.Name, p.Underlay, b.Host.Underlay.Addresses),
			"give both Nodes an address of one family, that one first")
	case kind == schema.BackendVXLAN:
		return append(out, b.throughVXLAN(p, subnet))
	case kind == schema.BackendWireGuard:
		return append(out, b.throughWireGuard(p, subnet))
	default:
		return append(out, reconciler.Route{
			Destination: subnet, Link: TunnelDevice,
			Source: b.tunnelSource(reconciler.FamilyOf(subnet.Addr())), MTU: b.pathMTU(p, schema.BackendUDP),
		})
	}
	return out
}

// underlayOf is the peer's underlay address of the family that this node's
// end of tunnels has; the zero value if there is none.
func (b *builder) underlayOf(p view.Peer) netip.Addr {
	for _, a := range p.Underlay {
		if local := b.local(); local.IsValid() && a.Is4() == local.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// udpPort is where a peer's udp tunnel listens: at the usual port if it has
// another backend by now.
func udpPort(p view.Peer) uint16 {
	if p.Backend.Kind == string(schema.BackendUDP) {
		return cmp.Or(p.Backend.Port, schema.BackendUDP.DefaultPort())
	}
	return schema.BackendUDP.DefaultPort()
}

// direct is a plain route through the peer's underlay address. Its source is
// an address of this node's subnet, as pods' packets have.
func (b *builder) direct(p view.Peer, subnet netip.Prefix, next netip.Addr) reconciler.Object {
	return reconciler.Route{
		Destination: subnet, Gateway: next, Link: b.Host.Underlay.Link,
		Source: b.source(reconciler.FamilyOf(subnet.Addr())), MTU: b.pathMTU(p, schema.BackendHostGW),
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
