package reconciler

import (
	"fmt"
	"net/netip"
)

// WireGuard is what a node's WireGuard device is set up with. Its private key
// is in the state directory.
type WireGuard struct {
	Device    string
	PublicKey string // base64
	Port      uint16
	// Userspace says that the device is embedded in the daemon, which attaches
	// to a TUN device of that name.
	Userspace bool
}

// WireGuardKey identifies a WireGuard.
type WireGuardKey struct{ Device string }

func (w WireGuard) Kind() Kind   { return KindWireGuard }
func (w WireGuard) Key() Key     { return WireGuardKey{w.Device} }
func (w WireGuard) Needs() []Key { return []Key{LinkKey{"", w.Device}} }

// Replaces reports whether the device is of the other kind.
func (w WireGuard) Replaces(before Object) bool {
	b, ok := before.(WireGuard)
	return ok && b.Userspace != w.Userspace
}

func (w WireGuard) String() string {
	text := fmt.Sprintf("wireguard %s public-key %s listen-port %d", w.Device, w.PublicKey, w.Port)
	if w.Userspace {
		text += " userspace"
	}
	return text
}

// WireGuardPeer says that a subnet is behind a peer of a WireGuard device:
// packets for it go there, and packets from it are accepted from there alone.
type WireGuardPeer struct {
	Device    string
	Subnet    netip.Prefix
	PublicKey string // base64
	// Endpoint is where the peer is first looked for; the device follows it
	// when it moves.
	Endpoint  netip.AddrPort
	Keepalive int // seconds; 0: none
}

// WireGuardPeerKey identifies a WireGuardPeer.
type WireGuardPeerKey struct {
	Device string
	Subnet netip.Prefix
}

func (p WireGuardPeer) Kind() Kind   { return KindWireGuardPeer }
func (p WireGuardPeer) Key() Key     { return WireGuardPeerKey{p.Device, p.Subnet} }
func (p WireGuardPeer) Needs() []Key { return []Key{WireGuardKey{p.Device}} }

func (p WireGuardPeer) String() string {
	text := fmt.Sprintf("wireguard-peer %s dev %s peer %s endpoint %s", p.Subnet, p.Device, p.PublicKey, p.Endpoint)
	if p.Keepalive != 0 {
		text += fmt.Sprintf(" persistent-keepalive %d", p.Keepalive)
	}
	return text
}
