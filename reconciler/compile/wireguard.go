package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// WireGuardDevice is the name of the wireguard backend's device.
const WireGuardDevice = "poplin-wg"

// wireguard asks for the WireGuard device: the kernel's where it has one, else
// a TUN device for the one that is embedded in the daemon.
func (b *builder) wireguard() *reconciler.Group {
	if !b.needs(schema.BackendWireGuard) {
		return nil
	}
	link := reconciler.Link{Name: WireGuardDevice, Type: reconciler.LinkWireGuard, MTU: b.wireguardMTU()}
	if !b.Host.KernelWireGuard {
		link.Type, link.QueueLength = reconciler.LinkTUN, tunnelQueue
	}
	port := schema.BackendWireGuard.DefaultPort()
	for _, a := range b.accepted() {
		if a.Kind == string(schema.BackendWireGuard) {
			port = a.Port
			break
		}
	}
	g := b.device("tunnel "+WireGuardDevice, link)
	g.Objects = append(g.Objects, reconciler.WireGuard{
		Device: WireGuardDevice, PublicKey: b.Host.PublicKey, Port: port, Userspace: !b.Host.KernelWireGuard,
	})
	return g
}

// publicKey is the key that a peer has to have: the one that its Node pins, or
// the one that it announces. It is "" where that is not known or not to be
// accepted.
func (b *builder) publicKey(p view.Peer) string {
	if !b.wg {
		return ""
	}
	pinned := ""
	if n := b.node(p.Name); n != nil {
		pinned = n.PublicKey
	}
	key := cmp.Or(p.PublicKey, pinned)
	switch {
	case key == "":
		return ""
	case pinned != "" && key != pinned:
		b.problem(fmt.Sprintf("%s announces the public key %s, but its Node has %s", p.Name, key, pinned), "find out whose key it is; then write it into spec.publicKey, or take that out")
		return ""
	case b.keys[key] != "":
		b.problem(fmt.Sprintf("%s announces the public key that %s has", p.Name, b.keys[key]), "on a copied node: systemctl stop poplin; rm /var/lib/poplin/wireguard.key")
		return ""
	}
	b.keys[key] = p.Name
	return key
}

func (b *builder) wireguardPeer(p view.Peer, subnet netip.Prefix, end netip.Addr, key string) reconciler.Object {
	port := schema.BackendWireGuard.DefaultPort()
	if p.Backend.Kind == string(schema.BackendWireGuard) && p.Backend.Port != 0 {
		port = p.Backend.Port
	}
	return reconciler.WireGuardPeer{
		Device: WireGuardDevice, Subnet: subnet, PublicKey: key, Endpoint: netip.AddrPortFrom(end, port),
		Keepalive: int(b.cluster.Overlay.Keepalive / time.Second),
	}
}

// throughWireGuard is the route to a subnet of a peer. A packet is padded to a
// multiple of 16 bytes, but not beyond the device's own MTU, whatever the
// route's is (calculatePaddingSize in golang.zx2c4.com/wireguard/device).
func (b *builder) throughWireGuard(p view.Peer, subnet netip.Prefix) reconciler.Object {
	mtu := b.pathMTU(p, schema.BackendWireGuard)
	if mtu < b.wireguardMTU() {
		mtu &^= 15
	}
	return reconciler.Route{
		Destination: subnet, Link: WireGuardDevice,
		Source: b.tunnelSource(reconciler.FamilyOf(subnet.Addr())), MTU: mtu,
	}
}

// wireguardMTU is the device's.
func (b *builder) wireguardMTU() int { return min(b.mtu, b.tunnelMTU(schema.BackendWireGuard)) }
