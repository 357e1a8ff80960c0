package compile

import (
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/schema"
)

// DefaultBridge is the bridge of subnets that name none.
const DefaultBridge = "poplin-br0"

// Subnet is a range of pod addresses that this node owns, one prefix per
// family.
type Subnet struct {
	Name     string // of the Subnet document; "" for a claim that no document describes
	Prefixes []netip.Prefix
	Gateways []netip.Addr // the bridge's, in the order of Prefixes
	Bridge   string
	MTU      int // bytes, upper limit; 0: none
	Reserved []schema.AddrRange
	// Masquerade says that pods which leave the pod ranges take the node's
	// address.
	Masquerade bool
	Pinned     bool
	Place      schema.Place
}

// OwnSubnets lists what a node owns: the subnets that documents pin to it, by
// name, then its claims. A claim that is the range of a free Subnet takes
// that document's settings. One that lies in a pinned subnet adds nothing: a
// claim is held until its pods are gone, also after its range was pinned.
func OwnSubnets(c *schema.Config, node string, claims []netip.Prefix) []Subnet {
	var out []Subnet
	var pinned []netip.Prefix
	free := map[netip.Prefix]*schema.Subnet{}
	for _, s := range c.Subnets {
		if s.Node == node {
			out = append(out, fromDocument(s))
			pinned = append(pinned, s.CIDRs...)
		}
		for _, p := range s.CIDRs {
			if s.Node == "" {
				free[p] = s
			}
		}
	}
	seen := map[*schema.Subnet]bool{}
	var v4, v6 []netip.Prefix
	for _, p := range claims {
		switch s := free[p]; {
		case slices.ContainsFunc(pinned, func(o netip.Prefix) bool { return o.Overlaps(p) && o.Bits() <= p.Bits() }):
		case s != nil && !seen[s]:
			seen[s] = true
			out = append(out, fromDocument(s))
		case s != nil:
		case p.Addr().Is4():
			v4 = append(v4, p)
		default:
			v6 = append(v6, p)
		}
	}
	for i := range max(len(v4), len(v6)) {
		out = append(out, fromClaim(c.Cluster, v4[min(i, len(v4)):min(i+1, len(v4))], v6[min(i, len(v6)):min(i+1, len(v6))]))
	}
	return out
}

func fromDocument(s *schema.Subnet) Subnet {
	return Subnet{
		Name: s.Meta.Name.Name, Prefixes: s.CIDRs, Gateways: s.Gateways, Bridge: s.Bridge, MTU: s.MTU,
		Reserved: s.Reserved, Masquerade: s.Masquerade, Pinned: s.Node != "", Place: s.Place,
	}
}

func fromClaim(cluster *schema.Cluster, prefixes ...[]netip.Prefix) Subnet {
	s := Subnet{Prefixes: slices.Concat(prefixes...), Bridge: DefaultBridge, Masquerade: cluster.Masquerade.Enabled, Place: cluster.Place}
	for _, p := range s.Prefixes {
		s.Gateways = append(s.Gateways, p.Addr().Next())
	}
	return s
}

// prefix returns the subnet's range and gateway in a family.
func (s Subnet) prefix(f reconciler.Family) (prefix netip.Prefix, gateway netip.Addr, ok bool) {
	for i, p := range s.Prefixes {
		if reconciler.FamilyOf(p.Addr()) == f {
			return p, s.Gateways[i], true
		}
	}
	return netip.Prefix{}, netip.Addr{}, false
}

// contains reports whether an address is in the subnet.
func (s Subnet) contains(a netip.Addr) bool {
	return slices.ContainsFunc(s.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// around returns the range of this node's that an address is in, with its
// gateway. The static addresses of one pod may be of two subnets.
func (b *builder) around(ip netip.Addr) (prefix netip.Prefix, gateway netip.Addr, ok bool) {
	for _, s := range b.subnets {
		if s.contains(ip) {
			return s.prefix(reconciler.FamilyOf(ip))
		}
	}
	return netip.Prefix{}, netip.Addr{}, false
}

// source returns the address that this host uses towards pods elsewhere: the
// gateway of its first subnet of the family.
func (b *builder) source(f reconciler.Family) netip.Addr {
	if s, ok := b.first(f); ok {
		_, gateway, _ := s.prefix(f)
		return gateway
	}
	return netip.Addr{}
}

// first is this node's first subnet that has the family.
func (b *builder) first(f reconciler.Family) (Subnet, bool) {
	for _, s := range b.subnets {
		if _, _, ok := s.prefix(f); ok {
			return s, true
		}
	}
	return Subnet{}, false
}
