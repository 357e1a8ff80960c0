package reconciler

import (
	"fmt"
	"net/netip"
)

// Tunnel is the userspace end of the udp backend: the process that moves
// packets between a TUN device and a UDP socket.
type Tunnel struct {
	Device string
	// Local is the address and port that the socket is bound to.
	Local netip.AddrPort
}

// TunnelKey identifies a Tunnel.
type TunnelKey struct{ Device string }

func (t Tunnel) Kind() Kind     { return KindTunnel }
func (t Tunnel) Key() Key       { return TunnelKey{t.Device} }
func (t Tunnel) Needs() []Key   { return []Key{LinkKey{"", t.Device}} }
func (t Tunnel) String() string { return fmt.Sprintf("tunnel %s udp %s", t.Device, t.Local) }

// TunnelPeer says that a subnet is behind a peer of a tunnel: packets for the
// subnet go to Endpoint, and packets from Endpoint's address are accepted
// only with an inner source inside one of the peer's subnets.
type TunnelPeer struct {
	Device   string
	Subnet   netip.Prefix
	Endpoint netip.AddrPort
	Node     string
}

// TunnelPeerKey identifies a TunnelPeer.
type TunnelPeerKey struct {
	Device string
	Subnet netip.Prefix
}

func (p TunnelPeer) Kind() Kind   { return KindTunnelPeer }
func (p TunnelPeer) Key() Key     { return TunnelPeerKey{p.Device, p.Subnet} }
func (p TunnelPeer) Needs() []Key { return []Key{TunnelKey{p.Device}} }

func (p TunnelPeer) String() string {
	return fmt.Sprintf("tunnel-peer %s dev %s endpoint %s node %s", p.Subnet, p.Device, p.Endpoint, p.Node)
}
