package compile

import (
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
)

// everyAddress are destinations that are nobody's: packets to them keep
// their source. Multicast: RFC 5771, RFC 4291; limited broadcast: RFC 919.
var everyAddress = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("ff00::/8"),
}

// masquerade asks for the tables and for the elements that do not belong to
// one service: the ranges that the skeleton's rules look at. pools are the
// load balancer addresses that are poplin's.
func (b *builder) masquerade(pools []netip.Addr) *reconciler.Group {
	if len(b.subnets) == 0 {
		return nil
	}
	g := &reconciler.Group{Name: "nftables", Origin: b.origin(b.cluster.Place)}
	for _, f := range b.tables() {
		g.Objects = append(g.Objects, reconciler.Table{Family: f, Version: reconciler.SkeletonVersion})
	}
	var own, masqueraded []netip.Prefix
	for _, s := range b.subnets {
		own = append(own, s.Prefixes...)
		if s.Masquerade {
			masqueraded = append(masqueraded, s.Prefixes...)
		}
	}
	b.ranges(g, reconciler.SetServiceRanges, b.cluster.ServiceCIDRs)
	b.ranges(g, reconciler.SetPodRanges, b.cluster.PodCIDRs)
	b.ranges(g, reconciler.SetLocalSubnets, own)
	b.ranges(g, reconciler.SetMasqueradeSubnets, masqueraded)
	b.ranges(g, reconciler.SetMasqueradeExclude, slices.Concat(b.cluster.PodCIDRs, b.cluster.Masquerade.Exclude, everyAddress))
	b.ranges(g, reconciler.SetNodePortAddresses, b.nodePortAddresses())
	for _, a := range pools {
		if f := reconciler.FamilyOf(a); b.has(f) {
			g.Objects = append(g.Objects, reconciler.Element{Family: f, Set: reconciler.SetLoadBalancerAddresses, Address: a})
		}
	}
	for _, p := range b.own {
		if p.HostNetwork {
			continue
		}
		for _, ip := range b.Host.PodAddresses[p.Meta.Name] {
			g.Objects = append(g.Objects, reconciler.Element{Family: reconciler.FamilyOf(ip), Set: reconciler.SetHairpin, Address: ip})
		}
	}
	return g
}

// ranges adds prefixes to an interval set. The kernel refuses overlapping
// intervals, so a prefix inside another one is left out.
func (b *builder) ranges(g *reconciler.Group, set reconciler.SetName, prefixes []netip.Prefix) {
	for i, p := range prefixes {
		family := reconciler.FamilyOf(p.Addr())
		if !b.has(family) || insideAnother(prefixes, i) {
			continue
		}
		g.Objects = append(g.Objects, reconciler.Element{Family: family, Set: set, Prefix: p.Masked()})
	}
}

func insideAnother(prefixes []netip.Prefix, i int) bool {
	p := prefixes[i]
	return slices.ContainsFunc(prefixes[:i], func(o netip.Prefix) bool { return o.Overlaps(p) && o.Bits() <= p.Bits() }) ||
		slices.ContainsFunc(prefixes[i+1:], func(o netip.Prefix) bool { return o.Overlaps(p) && o.Bits() < p.Bits() })
}

// nodePortAddresses are the local addresses on which node ports answer.
func (b *builder) nodePortAddresses() []netip.Prefix {
	choice := b.cluster.NodePortAddresses
	if choice.All {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	out := slices.Clone(choice.CIDRs)
	if choice.Primary {
		for _, a := range b.Host.Underlay.Addresses {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}
