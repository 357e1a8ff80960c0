package compile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/schema"
)

// Assign gives every pod of a node that has a namespace of its own an address
// per family of its subnet. A pod keeps the addresses of before while they
// are in a subnet of the node; others take the lowest free ones. Pods without
// room are left out and reported.
func Assign(c *schema.Config, node string, subnets []Subnet, before map[schema.Name][]netip.Addr) (map[schema.Name][]netip.Addr, []Problem) {
	a := assigner{subnets: subnets, taken: map[netip.Addr]bool{}, given: map[schema.Name][]netip.Addr{}}
	pods := slices.DeleteFunc(slices.Clone(c.Pods), func(p *schema.Pod) bool { return p.NodeName != node || p.HostNetwork })
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
	problems []Problem
}

// candidates are the subnets that a pod may be in.
func (a *assigner) candidates(p *schema.Pod) []Subnet {
	if p.Subnet == "" {
		return a.subnets
	}
	return slices.DeleteFunc(slices.Clone(a.subnets), func(s Subnet) bool { return s.Name != p.Subnet })
}

// keep gives a pod its static addresses, or those that it had.
func (a *assigner) keep(p *schema.Pod, before []netip.Addr) {
	if len(p.StaticIPs) > 0 {
		a.given[p.Meta.Name] = p.StaticIPs
		return
	}
	for _, s := range a.candidates(p) {
		usable := func(ip netip.Addr) bool { return s.assignable(ip) && !a.taken[ip] }
		if len(before) == len(s.Prefixes) && !slices.ContainsFunc(before, func(ip netip.Addr) bool { return !usable(ip) }) {
			a.give(p, before)
			return
		}
	}
}

// fill gives a pod that has none yet the lowest free addresses.
func (a *assigner) fill(p *schema.Pod) {
	if _, ok := a.given[p.Meta.Name]; ok {
		return
	}
	for _, s := range a.candidates(p) {
		if free, ok := a.lowest(s); ok {
			a.give(p, free)
			return
		}
	}
	if len(a.subnets) > 0 {
		a.problems = append(a.problems, Problem{
			What:   fmt.Sprintf("pod %s has no address: no subnet of its node has room for it", p.Meta.Name),
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

func (a *assigner) lowest(s Subnet) ([]netip.Addr, bool) {
	var out []netip.Addr
	for _, p := range s.Prefixes {
		ip := p.Addr().Next()
		for p.Contains(ip) && (a.taken[ip] || !s.assignable(ip)) {
			ip = ip.Next()
		}
		if !p.Contains(ip) {
			return nil, false
		}
		out = append(out, ip)
	}
	return out, true
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
