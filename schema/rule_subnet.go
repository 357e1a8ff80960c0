package schema

import (
	"cmp"
	"net/netip"
	"slices"
)

// subnetRules refuses subnets outside of the pod ranges, or that overlap,
// and bridges with two MTUs.
func (t *tree) subnetRules() {
	type claim struct {
		prefix netip.Prefix
		unit   *unit
		at     pointer
	}
	var claims []claim
	for _, u := range t.subnets {
		for i, p := range u.subnet.CIDRs {
			at := pointer("/spec/cidrs").item(i)
			claims = append(claims, claim{p, u, at})
			if !insideAny(t.result.Cluster.PodCIDRs, p) {
				t.refuse(u, at, "subnet %s is not inside a pod range (%s)", p, joinPrefixes(t.result.Cluster.PodCIDRs))
			}
		}
	}
	// Ranges of CIDRs are nested or apart: sorted, one overlaps the one
	// before it exactly if that, or what that is nested in, holds it.
	slices.SortStableFunc(claims, func(a, b claim) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	var widest *claim
	for i := range claims {
		c := &claims[i]
		if widest == nil || !widest.prefix.Overlaps(c.prefix) {
			widest = c
			continue
		}
		t.refuse(c.unit, c.at, "subnet %s overlaps %s of %s at %s", c.prefix, widest.prefix, widest.unit.object(), widest.unit.meta.Place)
	}
	t.bridgeRules()
}

func insideAny(ranges []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Bits() <= p.Bits() && r.Contains(p.Addr()) })
}

// bridgeRules refuses two MTUs on one bridge of one node.
func (t *tree) bridgeRules() {
	type bridge struct{ node, name string }
	first := map[bridge]*unit{}
	for _, u := range t.subnets {
		key := bridge{u.subnet.Node, u.subnet.Bridge}
		if key.node == "" {
			continue
		}
		other := first[key]
		if other == nil {
			first[key] = u
			continue
		}
		if other.subnet.MTU != u.subnet.MTU {
			t.refuse(u, "/spec/mtu", "bridge %s of %s has MTU %d here and %d in %s at %s", key.name, key.node, u.subnet.MTU, other.subnet.MTU, other.object(), other.meta.Place)
		}
	}
}

// lengthRule warns of pod ranges from which no subnet can be claimed.
func (t *tree) lengthRule() {
	c := t.result.Cluster
	for i, p := range c.PodCIDRs {
		length := c.SubnetLength.IPv4
		if p.Addr().Is6() {
			length = c.SubnetLength.IPv6
		}
		covered := slices.ContainsFunc(t.subnets, func(u *unit) bool { return hasFamily(u.subnet.CIDRs, FamilyOf(p.Addr())) })
		if p.Bits() > length && !covered {
			t.warn(t.cluster, pointer("/spec/podCIDRs").item(i), "no subnet of length /%d can be cut from %s; see spec.subnetLength", length, p)
		}
	}
}

// capacity is how many pods a subnet holds: its usable addresses but the
// gateway and reserved ones, in the family that has fewer.
func capacity(s *Subnet) uint64 {
	least := ^uint64(0)
	for i, p := range s.CIDRs {
		n := capacityOf(p)
		least = min(least, n-min(n, reservedIn(s, p, s.Gateways[i])))
	}
	return least
}

// capacityOf is the capacity of a range with one gateway.
func capacityOf(p netip.Prefix) uint64 {
	outside := uint64(2) // the gateway, and the network's address
	if p.Addr().Is4() {
		outside++ // broadcast
	}
	return size(p) - min(size(p), outside)
}

// reservedIn counts the usable addresses of a range, but the gateway, that
// are reserved.
func reservedIn(s *Subnet, p netip.Prefix, gateway netip.Addr) uint64 {
	var ranges []AddrRange
	for _, r := range s.Reserved {
		if p.Contains(r.First) {
			ranges = append(ranges, r)
		}
	}
	slices.SortFunc(ranges, func(a, b AddrRange) int { return a.First.Compare(b.First) })
	var count uint64
	var counted netip.Addr // all reserved up to here is counted
	special := []netip.Addr{p.Addr(), gateway}
	if p.Addr().Is4() {
		special = append(special, lastAddr(p))
	}
	for _, r := range ranges {
		if counted.IsValid() && !counted.Less(r.First) {
			r.First = counted.Next()
		}
		if !r.First.IsValid() || r.Last.Less(r.First) {
			continue
		}
		count += stepsTo(p, r.Last) - stepsTo(p, r.First) + 1
		for _, a := range special {
			if r.Contains(a) {
				count--
			}
		}
		counted = r.Last
	}
	return count
}
