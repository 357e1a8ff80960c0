package reconciler

import "net/netip"

// Neighbour says which link-layer address an IP address has on a VXLAN link,
// permanently: nobody is asked.
type Neighbour struct {
	Address netip.Addr
	Link    string
	MAC     MAC
}

// NeighbourKey identifies a Neighbour.
type NeighbourKey struct {
	Address netip.Addr
	Link    string
}

func (n Neighbour) Kind() Kind   { return KindNeighbour }
func (n Neighbour) Key() Key     { return NeighbourKey{n.Address, n.Link} }
func (n Neighbour) Needs() []Key { return []Key{LinkKey{"", n.Link}} }

func (n Neighbour) String() string {
	return "neighbour " + n.Address.String() + " dev " + n.Link + " lladdr " + n.MAC.String()
}

// ProxyNeighbour makes the kernel answer ARP requests and neighbour
// solicitations for an address that no link of the host has (ip-neighbour(8),
// proxy), with the MAC address of the link they come in by. It carries the
// same protocol number as our routes.
//
// For IPv4 the kernel answers only if its route to the address leaves by
// another link and the link forwards (arp_process in net/ipv4/arp.c); for IPv6
// only if the link has proxy_ndp.
type ProxyNeighbour struct {
	Address netip.Addr
	Link    string
}

// ProxyNeighbourKey identifies a ProxyNeighbour.
type ProxyNeighbourKey struct {
	Address netip.Addr
	Link    string
}

func (p ProxyNeighbour) Kind() Kind   { return KindProxyNeighbour }
func (p ProxyNeighbour) Key() Key     { return ProxyNeighbourKey(p) }
func (p ProxyNeighbour) Needs() []Key { return nil } // its link is the host's, not ours

func (p ProxyNeighbour) String() string {
	return "neighbour proxy " + p.Address.String() + " dev " + p.Link
}
