package schema

import (
	"maps"
	"net/netip"
	"slices"
)

var (
	ipAnnotation     = pointer("/metadata/annotations").field("poplin/ip")
	subnetAnnotation = pointer("/metadata/annotations").field("poplin/subnet")
)

// staticAddressRules refuses two pods with one address.
func (t *tree) staticAddressRules() {
	seen := map[netip.Addr]*unit{}
	for _, u := range t.wishful() {
		for _, a := range u.pod.StaticIPs {
			if other := seen[a]; other != nil {
				t.refuse(u, ipAnnotation, "%s is also the address of %s at %s", a, other.object(), other.meta.Place)
				continue
			}
			seen[a] = u
		}
	}
}

// subnetChoiceRules checks what pods say about the subnet and the address
// that they want.
func (t *tree) subnetChoiceRules() {
	byName := make(map[string]*unit, len(t.subnets))
	byNode := make(map[string][]*unit)
	for _, u := range t.subnets {
		byName[u.meta.Name.Name] = u
		byNode[u.subnet.Node] = append(byNode[u.subnet.Node], u)
	}
	takenBy := map[*unit]*unit{} // free subnets: the first pod that wants one
	for _, u := range t.wishful() {
		candidates := byNode[u.pod.NodeName]
		if name := u.pod.Subnet; name != "" {
			s := byName[name]
			if !t.checkSubnetChoice(u, s, byName, takenBy) {
				continue
			}
			candidates = nil
			if s.subnet.Node != "" {
				candidates = []*unit{s}
			}
		}
		for _, a := range u.pod.StaticIPs {
			t.checkStaticAddress(u, a, candidates)
		}
	}
}

// checkSubnetChoice checks the annotation poplin/subnet.
func (t *tree) checkSubnetChoice(u, s *unit, byName map[string]*unit, takenBy map[*unit]*unit) bool {
	if s == nil {
		names := make([]string, 0, len(byName))
		for name := range byName {
			names = append(names, name)
		}
		t.refuse(u, subnetAnnotation, "there is no Subnet %s%s", u.pod.Subnet, didYouMean(u.pod.Subnet, names))
		return false
	}
	if s.subnet.Node != "" && s.subnet.Node != u.pod.NodeName {
		t.refuse(u, subnetAnnotation, "Subnet %s is pinned to %s, but the pod is on %s", u.pod.Subnet, s.subnet.Node, u.pod.NodeName)
		return false
	}
	if s.subnet.Node != "" {
		return true
	}
	first := takenBy[s]
	if first == nil {
		takenBy[s] = u
	} else if first.pod.NodeName != u.pod.NodeName {
		t.refuse(u, subnetAnnotation, "Subnet %s can have one owner, but this pod is on %s, and %s on %s", u.pod.Subnet, u.pod.NodeName, first.object(), first.pod.NodeName)
		return false
	}
	return true
}

func (t *tree) checkStaticAddress(u *unit, a netip.Addr, candidates []*unit) {
	if len(candidates) == 0 {
		t.refuse(u, ipAnnotation, "poplin/ip needs a Subnet that is pinned to %s", u.pod.NodeName)
		return
	}
	for _, s := range candidates {
		for i, p := range s.subnet.CIDRs {
			if !p.Contains(a) {
				continue
			}
			switch {
			case !usable(p, a):
				t.refuse(u, ipAnnotation, "%s is the network's or the broadcast address of %s", a, p)
			case a == s.subnet.Gateways[i]:
				t.refuse(u, ipAnnotation, "%s is the gateway of %s", a, s.object())
			case slices.ContainsFunc(s.subnet.Reserved, func(r AddrRange) bool { return r.Contains(a) }):
				t.refuse(u, ipAnnotation, "%s is reserved in %s", a, s.object())
			}
			return
		}
	}
	names := make([]string, len(candidates))
	for i, s := range candidates {
		names[i] = joinPrefixes(s.subnet.CIDRs)
	}
	t.refuse(u, ipAnnotation, "%s is not inside a Subnet of %s (%s)", a, u.pod.NodeName, joinWords(names))
}

// capacityRules refuses more pods than there is room for.
func (t *tree) capacityRules() {
	left := t.leftInSubnets()
	room := map[string]uint64{} // by node, in its pinned subnets
	free, largest := false, uint64(0)
	for _, u := range t.subnets {
		n := left[u.meta.Name.Name]
		if u.subnet.Node == "" {
			free, largest = true, max(largest, n)
			continue
		}
		room[u.subnet.Node] = min(room[u.subnet.Node]+min(n, 1<<61), 1<<62)
	}
	claimed := t.claimedCapacity()
	if free {
		claimed = largest
	}
	limits := map[string]uint64{} // of nodes with too many pods
	for node, count := range t.automaticPods() {
		limit, pinned := room[node]
		if !pinned {
			limit = claimed
		}
		if count > limit {
			limits[node] = limit
		}
	}
	t.tooManyPods(limits)
}

// automaticPods counts by node the pods that take any free address.
func (t *tree) automaticPods() map[string]uint64 {
	counts := maps.Clone(t.parser.index.plain)
	for _, u := range t.wishful() {
		if !u.pod.HostNetwork && u.pod.Subnet == "" {
			counts[u.pod.NodeName]++
		}
	}
	return counts
}

// tooManyPods reports the first pod of each node that has no room.
func (t *tree) tooManyPods(limits map[string]uint64) {
	if len(limits) == 0 {
		return
	}
	count := map[string]uint64{}
	for _, u := range t.pods {
		node := u.pod.NodeName
		limit, over := limits[node]
		if !over || u.pod.HostNetwork || u.pod.Subnet != "" {
			continue
		}
		if count[node]++; count[node] == limit+1 {
			t.refuse(u, "/spec/nodeName", "node %s has no room for this pod: its subnets hold %d, and so many pods come before it", node, limit)
		}
	}
}

// wishful are the pods that want something in particular.
func (t *tree) wishful() []*unit {
	units, _ := t.parser.index.wishful.distinct()
	return units
}

// leftInSubnets is the room in each subnet beside the pods that name it.
func (t *tree) leftInSubnets() map[string]uint64 {
	left := make(map[string]uint64, len(t.subnets))
	for _, u := range t.subnets {
		left[u.meta.Name.Name] = capacity(u.subnet)
	}
	for _, u := range t.wishful() {
		name := u.pod.Subnet
		switch {
		case name == "":
		case left[name] == 0:
			t.refuse(u, subnetAnnotation, "Subnet %s has no room for this pod: more pods name it than it holds", name)
		default:
			left[name]--
		}
	}
	return left
}

// claimedCapacity is how many pods a claimed subnet holds.
func (t *tree) claimedCapacity() uint64 {
	c := t.result.Cluster
	least := ^uint64(0)
	for _, p := range c.PodCIDRs {
		length := c.SubnetLength.IPv4
		if p.Addr().Is6() {
			length = c.SubnetLength.IPv6
		}
		if p.Bits() <= length {
			least = min(least, capacityOf(netip.PrefixFrom(p.Addr(), length)))
		}
	}
	return least
}

// hostPortRules warns of two hostNetwork pods of one node with one port.
func (t *tree) hostPortRules() {
	type hostPort struct {
		node     string
		port     uint16
		protocol Protocol
	}
	seen := map[hostPort]*unit{}
	for _, u := range t.wishful() {
		if !u.pod.HostNetwork {
			continue
		}
		for _, p := range u.pod.Ports {
			key := hostPort{u.pod.NodeName, p.Port, p.Protocol}
			other := seen[key]
			if other == nil {
				seen[key] = u
			} else if other != u {
				t.warn(u, "/spec/hostNetwork", "port %d/%s of %s is also that of %s at %s", p.Port, p.Protocol, key.node, other.object(), other.meta.Place)
			}
		}
	}
}
