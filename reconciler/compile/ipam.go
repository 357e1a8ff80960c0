package compile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/schema"
)

// Assign gives every pod of a node that has a namespace of its own an address
// per family of its subnet. A pod keeps what it had before while that is in a
// subnet of the node, also where the subnet gains or loses a family; what is
// missing are the lowest free addresses. Pods without room are reported.
func Assign(c *schema.Config, node string, subnets []Subnet, before map[schema.Name][]netip.Addr) (map[schema.Name][]netip.Addr, []Problem) {
	a := assigner{
		subnets: subnets, taken: map[netip.Addr]bool{},
		given: map[schema.Name][]netip.Addr{}, homes: map[schema.Name]Subnet{},
	}
	pods := slices.DeleteFunc(slices.Clone(c.PodsOn(node)), func(p *schema.Pod) bool { return p.HostNetwork })
	for _, p := range pods {
		for _, ip := range p.StaticIPs {
			a.taken[ip] = true
		}
	}
	for _, p := range pods {
		a.keep(p, before[p.Meta.Name])
	}
	for _, p := range pods {
		a.fill(p)
	}
	return a.given, a.problems
}

type assigner struct {
	subnets  []Subnet
	taken    map[netip.Addr]bool
	given    map[schema.Name][]netip.Addr
	homes    map[schema.Name]Subnet // of pods that kept something
	problems []Problem
}

// candidates are the subnets that a pod may be in.
func (a *assigner) candidates(p *schema.Pod) []Subnet {
	if home, ok := a.homes[p.Meta.Name]; ok {
		return []Subnet{home}
	}
	if p.Subnet == "" {
		return a.subnets
	}
	return slices.DeleteFunc(slices.Clone(a.subnets), func(s Subnet) bool { return s.Name != p.Subnet })
}

// keep gives a pod its static addresses, or what it had in the first subnet
// that holds any of it.
func (a *assigner) keep(p *schema.Pod, before []netip.Addr) {
	if len(p.StaticIPs) > 0 {
		a.given[p.Meta.Name] = p.StaticIPs
		return
	}
	usable := slices.DeleteFunc(slices.Clone(before), func(ip netip.Addr) bool { return a.taken[ip] })
	for _, s := range a.candidates(p) {
		var kept []netip.Addr
		for _, prefix := range s.Prefixes {
			if i := slices.IndexFunc(usable, prefix.Contains); i >= 0 && s.assignable(usable[i]) {
				kept = append(kept, usable[i])
			}
		}
		if len(kept) > 0 {
			a.homes[p.Meta.Name] = s
			a.give(p, kept)
			return
		}
	}
}

// fill gives a pod the lowest free addresses of the families that it has
// none of yet.
func (a *assigner) fill(p *schema.Pod) {
	if len(p.StaticIPs) > 0 {
		return
	}
	for _, s := range a.candidates(p) {
		if all, ok := a.complete(s, a.given[p.Meta.Name]); ok {
			a.give(p, all)
			return
		}
	}
	if len(a.subnets) > 0 {
		a.problems = append(a.problems, Problem{
			What:   fmt.Sprintf("pod %s lacks an address: no subnet of its node has room for it", p.Meta.Name),
			Remedy: "pin another Subnet to the node, or move the pod to another node",
		})
	}
}

func (a *assigner) give(p *schema.Pod, addresses []netip.Addr) {
	a.given[p.Meta.Name] = addresses
	for _, ip := range addresses {
		a.taken[ip] = true
	}
}

// complete returns an address in each range of a subnet: that which the pod
// has, or the lowest free one.
func (a *assigner) complete(s Subnet, have []netip.Addr) ([]netip.Addr, bool) {
	var out []netip.Addr
	for _, p := range s.Prefixes {
		if i := slices.IndexFunc(have, p.Contains); i >= 0 {
			out = append(out, have[i])
			continue
		}
		ip, ok := a.lowest(s, p)
		if !ok {
			return nil, false
		}
		out = append(out, ip)
	}
	return out, true
}

// lowest finds the lowest free address in a range of a subnet. It steps over
// reserved ranges as a whole: with IPv6 they can be larger than any loop.
func (a *assigner) lowest(s Subnet, p netip.Prefix) (netip.Addr, bool) {
	ip := p.Masked().Addr().Next()
	for p.Contains(ip) && (a.taken[ip] || !s.assignable(ip)) {
		if i := slices.IndexFunc(s.Reserved, func(r schema.AddrRange) bool { return r.Contains(ip) }); i >= 0 {
			ip = s.Reserved[i].Last
		}
		ip = ip.Next()
	}
	return ip, p.Contains(ip)
}

// assignable reports whether an address of the subnet may be given to a pod:
// not the network's or the broadcast address, not a gateway, not reserved.
func (s Subnet) assignable(ip netip.Addr) bool {
	for i, p := range s.Prefixes {
		if !p.Contains(ip) {
			continue
		}
		last := ip.Is4() && !p.Contains(ip.Next()) && p.Bits() < 31
		return ip != p.Masked().Addr() && !last && ip != s.Gateways[i] &&
			!slices.ContainsFunc(s.Reserved, func(r schema.AddrRange) bool { return r.Contains(ip) })
	}
	return false
}
