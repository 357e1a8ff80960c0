// Package view holds the cluster as one node sees it now, as plain values:
// which peers there are, who owns which subnet, how to reach it, which pods
// are there and ready. It is made from gossip and read by everything pure.
package view

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Liveness is what a node thinks of another.
type Liveness string

// The states of a peer. A peer that is gone is in no View.
const (
	Alive  Liveness = "alive"  // answers gossip, or is external
	Failed Liveness = "failed" // in git but silent: its routes stay, its endpoints are out
)

// View is the cluster as this node sees it. It is a value: whoever changes
// it makes a new one.
type View struct {
	Self  Self
	Peers []Peer // sorted by name, without this node
}

// Self is what this node owns.
type Self struct {
	Name    string
	Subnets []netip.Prefix // owned and confirmed: pinned, or claimed and uncontested
	Pods    []Pod          // sorted by namespace and name
	// Former are the backends that peers may still use towards this node,
	// which announces another one by now.
	Former []Backend
}

// Peer is another node.
type Peer struct {
	Name     string
	State    Liveness
	Underlay []netip.Addr   // in order of preference
	Subnets  []netip.Prefix // sorted
	Backend  Backend
	// PublicKey is that of its WireGuard device, in base64; "": not known, or
	// it has none.
	PublicKey string
	MTU       int // bytes that a packet from one of its pods may have; 0 unknown
	Pods      []Pod
	// Health says that Pods has those in the node's own network, too: one that
	// is missing is not there yet.
	Health bool
}

// SameNode reports whether two peers are the same but for their pods.
func (p Peer) SameNode(o Peer) bool {
	return p.Name == o.Name && p.State == o.State && p.Backend == o.Backend && p.PublicKey == o.PublicKey && p.MTU == o.MTU &&
		slices.Equal(p.Underlay, o.Underlay) && slices.Equal(p.Subnets, o.Subnets)
}

// Backend is how a peer is reached, as the peer itself announces it.
type Backend struct {
	Kind string // udp, vxlan, host-gw, wireguard, none
	Port uint16 // 0: the kind has none, or its default
	// VNI and MAC, of its device, are those of a node with vxlan; 0: the default,
	// and the one that its name gives.
	VNI uint32
	MAC [6]byte
	// Direct says that packets from the same link may come without the tunnel.
	Direct bool
}

// String names the kind, with the port where there is one, and whether there
// is a way beside the tunnel.
func (b Backend) String() string {
	text := b.Kind
	if b.Port != 0 {
		text += fmt.Sprintf(" port %d", b.Port)
	}
	if b.Direct {
		text += " with direct routing"
	}
	return text
}

// Pod is a pod with its addresses, as the node that runs it says.
type Pod struct {
	Namespace, Name string
	Addresses       []netip.Addr // at most one per family; none: those of the node (hostNetwork)
	Ready           bool
}

// ComparePods orders pods by namespace and name.
func ComparePods(a, b Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Peer returns the peer of that name, or nil.
func (v View) Peer(name string) *Peer {
	i, found := slices.BinarySearchFunc(v.Peers, name, func(p Peer, name string) int { return cmp.Compare(p.Name, name) })
	if !found {
		return nil
	}
	return &v.Peers[i]
}
