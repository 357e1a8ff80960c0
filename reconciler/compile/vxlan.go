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

// segment is a VXLAN network: who has the same can talk to each other. Each
// has a link of its own, for a link's identifier and port cannot be changed
// (vxlan_nl2conf in drivers/net/vxlan/vxlan_core.c), and both of two must be
// there while nodes move from one to the other.
type segment struct {
	vni  uint32
	port uint16
}

func segmentOf(b view.Backend) segment {
	return segment{cmp.Or(b.VNI, schema.DefaultVNI), cmp.Or(b.Port, schema.BackendVXLAN.DefaultPort())}
}

// link is the name of a segment's link: poplin.1 as flannel has flannel.1.
// With another port than usual it tells the port, too; in hexadecimal, for
// names have at most 15 characters.
func (s segment) link() string {
	if s.port == schema.BackendVXLAN.DefaultPort() {
		return fmt.Sprintf("poplin.%d", s.vni)
	}
	return fmt.Sprintf("pop.%x.%x", s.vni, s.port)
}

// VTEP is the link-layer address of a node's VXLAN links. It follows from the
// name, so that peers know it before they heard anything of the node; names
// are unique in a cluster.
func VTEP(c *schema.Cluster, node string) reconciler.MAC {
	return deriveMAC(c.Meta.Name.Name, "vtep", node)
}

// segments are those that this node or a peer is in.
func (b *builder) segments() []segment {
	var segments []segment
	add := func(o view.Backend) {
		if s := segmentOf(o); o.Kind == string(schema.BackendVXLAN) && !slices.Contains(segments, s) {
			segments = append(segments, s)
		}
	}
	for _, a := range b.accepted() {
		add(a)
	}
	for _, p := range b.View.Peers {
		add(p.Backend)
	}
	return segments
}

// vxlans asks for a link for each segment.
func (b *builder) vxlans() []*reconciler.Group {
	var out []*reconciler.Group
	for _, s := range b.segments() {
		out = append(out, b.device("tunnel "+s.link(), reconciler.Link{
			Name: s.link(), Type: reconciler.LinkVXLAN, MAC: VTEP(b.cluster, b.Host.Node), MTU: min(b.mtu, b.tunnelMTU(schema.BackendVXLAN)),
			VNI: s.vni, Port: s.port, Local: b.local(), ChecksumOffload: b.checksumOffload(),
		}))
	}
	return out
}

// checksumOffload reports whether VXLAN links leave checksums to what is below
// them.
func (b *builder) checksumOffload() bool {
	switch b.cluster.Overlay.ChecksumOffload {
	case "on":
		return true
	case "off":
		return false
	}
	return !b.Host.BadChecksumOffload
}

// vtepOf says where the link of a peer is, as entries for ours. The neighbour
// is the network address of its first subnet of each family: what flannel has
// there, and nobody's otherwise.
func (b *builder) vtepOf(p view.Peer) []reconciler.Object {
	underlay := b.underlayOf(p)
	if p.Backend.Kind != string(schema.BackendVXLAN) || !underlay.IsValid() {
		return nil
	}
	link, mac := segmentOf(p.Backend).link(), reconciler.MAC(Reached(b.cluster, p).MAC)
	key := reconciler.FDBEntryKey{MAC: mac, Link: link}
	if other, taken := b.vteps[key]; taken || mac == VTEP(b.cluster, b.Host.Node) {
		b.problem(fmt.Sprintf("%s announces the VXLAN address %s, which %s has", p.Name, mac, cmp.Or(other, "this node")), "give one of the two another --node")
		return nil
	}
	b.vteps[key] = p.Name
	var out []reconciler.Object
	for _, f := range b.families {
		if a := b.vtepAddress(p, f); a.IsValid() {
			out = append(out, reconciler.Neighbour{Address: a, Link: link, MAC: mac})
		}
	}
	if len(out) == 0 {
		return nil
	}
	return append(out, reconciler.FDBEntry{MAC: mac, Link: link, Destination: underlay})
}

// Reached is a peer's backend with what its name gives where it has not said
// it.
func Reached(c *schema.Cluster, p view.Peer) view.Backend {
	out := p.Backend
	if out.Kind == string(schema.BackendVXLAN) && out.MAC == [6]byte{} {
		out.MAC = VTEP(c, p.Name)
	}
	return out
}

// vtepAddress is the address by which the neighbour entry of a peer goes; the
// zero value if no subnet of the family is reached by it.
func (b *builder) vtepAddress(p view.Peer, f reconciler.Family) netip.Addr {
	for _, subnet := range p.Subnets {
		direct := p.Backend.Direct && b.onLink(p, subnet).IsValid()
		if reconciler.FamilyOf(subnet.Addr()) == f && !b.owns(subnet) && !direct {
			return subnet.Masked().Addr()
		}
	}
	return netip.Addr{}
}

// throughVXLAN is the route to a subnet of a peer.
func (b *builder) throughVXLAN(p view.Peer, subnet netip.Prefix) reconciler.Object {
	f := reconciler.FamilyOf(subnet.Addr())
	return reconciler.Route{
		Destination: subnet, Gateway: b.vtepAddress(p, f), Link: segmentOf(p.Backend).link(), Onlink: true,
		Source: b.tunnelSource(f), MTU: b.pathMTU(p, schema.BackendVXLAN),
	}
}
