package compile

import (
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// outerHeaders are the bytes that a backend puts around a packet, by the
// family of the outer header: IP and UDP (28, 48); for VXLAN its own header and
// an Ethernet one besides; for WireGuard its header and authentication tag.
func outerHeaders(kind schema.Backend, v6 bool) int {
	n := 0
	switch kind {
	case schema.BackendUDP:
		n = 28
	case schema.BackendVXLAN:
		n = 50
	case schema.BackendWireGuard:
		n = 60
	default:
		return 0
	}
	if v6 {
		n += 20
	}
	return n
}

// podMTU is what a packet of this node's pods may have: the underlay's MTU
// minus the backend's cost, but no more than the Cluster says.
func (b *builder) podMTU() int {
	mtu := b.tunnelMTU(b.cluster.Overlay.Backend)
	if limit := b.cluster.Overlay.MTU; limit > 0 {
		mtu = min(mtu, limit)
	}
	return mtu
}

// tunnelMTU is what the underlay leaves for a packet in a tunnel of a kind.
func (b *builder) tunnelMTU(kind schema.Backend) int {
	return b.Host.Underlay.MTU - outerHeaders(kind, b.local().Is6())
}

// local is this node's end of tunnels; the zero value if there is none.
func (b *builder) local() netip.Addr {
	if len(b.Host.Underlay.Addresses) == 0 {
		return netip.Addr{}
	}
	return b.Host.Underlay.Addresses[0]
}

func (b *builder) subnetMTU(s Subnet) int {
	if s.MTU > 0 {
		return min(s.MTU, b.mtu)
	}
	return b.mtu
}

// pathMTU is what a packet to a peer may have: the smaller of what both ends
// announce, and no more than fits the tunnel.
func (b *builder) pathMTU(p view.Peer, kind schema.Backend) int {
	mtu := min(b.mtu, b.tunnelMTU(kind))
	if p.MTU > 0 {
		mtu = min(mtu, p.MTU)
	}
	return mtu
}

// needs reports whether this node needs a backend of a kind: it is its own,
// or was until lately, or a peer wants to be reached by it.
func (b *builder) needs(kind schema.Backend) bool {
	is := func(o view.Backend) bool { return o.Kind == string(kind) }
	return slices.ContainsFunc(b.accepted(), is) || slices.ContainsFunc(b.View.Peers, func(p view.Peer) bool { return is(p.Backend) })
}

// accepted are this node's own backend and those that it had until lately,
// which peers may still use.
func (b *builder) accepted() []view.Backend {
	o := b.cluster.Overlay
	return append([]view.Backend{{Kind: string(o.Backend), Port: o.Port, VNI: o.VNI, Direct: o.DirectRouting}}, b.View.Self.Former...)
}
