package schema

import "net/netip"

const defaultBridge = "poplin-br0"

// subnet converts a Subnet. Its masquerade is settled when the Cluster is
// known; masquerade is nil where the document does not say.
func (c *conversion) subnet(d *subnetDocument) (out *Subnet, masquerade *bool) {
	s := &d.Spec
	out = &Subnet{
		Meta:     c.meta,
		CIDRs:    prefixes(s.CIDRs),
		Node:     s.Node,
		Gateways: addresses(s.Gateways),
		Bridge:   orDefault(s.Bridge, defaultBridge),
		MTU:      s.MTU,
	}
	for _, text := range s.Reserved {
		r, _ := parseAddrRange(text)
		out.Reserved = append(out.Reserved, r)
	}
	at := pointer("/spec/cidrs")
	c.onePrefixPerFamily(at, out.CIDRs)
	for i, p := range out.CIDRs {
		if p.Addr().BitLen()-p.Bits() < 2 {
			c.refuse(at.item(i), "%s has no room for a gateway and a pod; at least /%d", p, p.Addr().BitLen()-2)
		}
	}
	if s.MTU != 0 && s.MTU < minMTUIPv6 && hasFamily(out.CIDRs, IPv6) {
		c.refuse("/spec/mtu", "%d is too small for IPv6, which needs %d", s.MTU, minMTUIPv6)
	}
	c.gateways(out)
	c.reserved(out)
	return out, s.Masquerade
}

// gateways puts the gateways in the order of the ranges, with the first
// address of a range where none is written.
func (c *conversion) gateways(out *Subnet) {
	at := pointer("/spec/gateways")
	c.onePerFamily(at, out.Gateways)
	written := out.Gateways
	out.Gateways = nil
	for _, p := range out.CIDRs {
		gateway := addrAt(p, 1)
		for _, g := range written {
			if FamilyOf(g) == FamilyOf(p.Addr()) {
				gateway = g
			}
		}
		out.Gateways = append(out.Gateways, gateway)
	}
	for i, g := range written {
		if !anyUsable(out.CIDRs, g) {
			c.refuse(at.item(i), "gateway %s is not an address that a host in %s can have", g, joinPrefixes(out.CIDRs))
		}
	}
}

func (c *conversion) reserved(out *Subnet) {
	at := pointer("/spec/reserved")
	for i, r := range out.Reserved {
		inside := false
		for _, p := range out.CIDRs {
			inside = inside || p.Contains(r.First) && p.Contains(r.Last)
		}
		if !inside {
			c.refuse(at.item(i), "reserved addresses %s are not inside %s", rangeText(r), joinPrefixes(out.CIDRs))
		}
	}
}

func anyUsable(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if usable(p, a) {
			return true
		}
	}
	return false
}

func joinPrefixes(list []netip.Prefix) string {
	text := ""
	for i, p := range list {
		if i > 0 {
			text += " or "
		}
		text += p.String()
	}
	return text
}

func rangeText(r AddrRange) string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}
