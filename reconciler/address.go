package reconciler

import "net/netip"

// Address is an IP address on a link. The kernel's connected route is
// suppressed (noprefixroute): poplin writes that route itself, so that it is
// seen and put back like any other. IPv6 addresses skip duplicate address
// detection (nodad).
type Address struct {
	Netns  string // "" for the host
	Link   string
	Prefix netip.Prefix // the address with the length of its subnet
}

// AddressKey identifies an Address.
type AddressKey struct {
	Netns, Link string
	Prefix      netip.Prefix
}

func (a Address) Kind() Kind   { return KindAddress }
func (a Address) Key() Key     { return AddressKey(a) }
func (a Address) Needs() []Key { return []Key{LinkKey{a.Netns, a.Link}} }

func (a Address) String() string {
	return "address " + inNetns(a.Netns) + a.Prefix.String() + " dev " + a.Link
}
