package compile

import (
	"net/netip"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/schema"
)

// TunnelDevice is the name of the udp backend's TUN device.
const TunnelDevice = "poplin0"

// tunnelQueue is the TUN device's queue length in packets: what waits while
// the daemon restarts.
const tunnelQueue = 4000

// tunnels asks for this node's ends of all tunnels that it or a peer speaks.
func (b *builder) tunnels() []*reconciler.Group {
	if !b.local().IsValid() {
		return nil
	}
	return append(b.vxlans(), b.tunnel(), b.wireguard())
}

// tunnel asks for the TUN device of the udp backend and its process.
func (b *builder) tunnel() *reconciler.Group {
	if !b.needs(schema.BackendUDP) {
		return nil
	}
	g := b.device("tunnel", reconciler.Link{
		Name: TunnelDevice, Type: reconciler.LinkTUN, MTU: b.mtu, QueueLength: tunnelQueue, MultiQueue: true,
	})
	g.Objects = append(g.Objects, reconciler.Tunnel{Device: TunnelDevice, Local: netip.AddrPortFrom(b.local(), b.tunnelPort())})
	return g
}

// tunnelPort is where the udp backend's process listens.
func (b *builder) tunnelPort() uint16 {
	for _, a := range b.accepted() {
		if a.Kind == string(schema.BackendUDP) {
			return a.Port
		}
	}
	return schema.BackendUDP.DefaultPort()
}

// device asks for a tunnel's link with its settings and addresses. It has an
// address of its own in the first subnet: what the host, and masquerade, use
// as source towards remote pods. For IPv4 it is the network address, as
// flannel does it.
func (b *builder) device(group string, link reconciler.Link) *reconciler.Group {
	link.Alias = b.alias(link.Name)
	g := &reconciler.Group{Name: group, Origin: b.origin(b.cluster.Place), Objects: []reconciler.Object{link}}
	if b.has(reconciler.IPv4) {
		g.Objects = append(g.Objects, linkSysctl(link.Name, "ipv4", "rp_filter", "2"))
	}
	if b.has(reconciler.IPv6) {
		g.Objects = append(g.Objects, linkSysctl(link.Name, "ipv6", "disable_ipv6", "0"))
	}
	for _, f := range b.families {
		if source := b.tunnelSource(f); source.IsValid() {
			g.Objects = append(g.Objects, reconciler.Address{Link: link.Name, Prefix: netip.PrefixFrom(source, source.BitLen())})
		}
	}
	return g
}

// tunnelSource is a tunnel device's own address.
func (b *builder) tunnelSource(f reconciler.Family) netip.Addr {
	s, ok := b.first(f)
	if !ok {
		return netip.Addr{}
	}
	p, gateway, _ := s.prefix(f)
	if f == reconciler.IPv4 {
		return p.Masked().Addr()
	}
	return gateway
}
