package schema

import (
	"fmt"
	"net/netip"
	"slices"
)

// daemonPort is one at which poplin itself listens.
type daemonPort struct {
	nodePortKey
	of string
}

// overlayPorts are those at which nodes take packets from each other.
func overlayPorts(c *Cluster) []daemonPort {
	if c.Overlay.Port == 0 {
		return nil
	}
	return []daemonPort{{nodePortKey{c.Overlay.Port, UDP}, "the overlay"}}
}

func gossipPorts(port uint16) []daemonPort {
	return []daemonPort{{nodePortKey{port, TCP}, "gossip"}, {nodePortKey{port, UDP}, "gossip"}}
}

// daemonNodePorts are the node ports that no service can have: what comes for
// them to a node is for the daemon there. DNS has addresses of its own, on
// which node ports answer only if the Cluster says so.
func daemonNodePorts(c *Cluster) []daemonPort {
	out := append(gossipPorts(c.Gossip.Port), overlayPorts(c)...)
	atBridge := func(p netip.Prefix) bool {
		return slices.ContainsFunc(c.PodCIDRs, p.Overlaps) || slices.ContainsFunc(c.DNS.Addresses, p.Contains)
	}
	if c.DNS.Enabled && (c.NodePortAddresses.All || slices.ContainsFunc(c.NodePortAddresses.CIDRs, atBridge)) {
		out = append(out, daemonPort{nodePortKey{dnsPort, TCP}, "DNS"}, daemonPort{nodePortKey{dnsPort, UDP}, "DNS"})
	}
	return out
}

// daemonPorts are those at the addresses of one node. An external one has no
// daemon, but packets between pods are sent to it as to others.
func (u *unit) daemonPorts(c *Cluster, note func(netip.Addr, daemonPort)) {
	advertise := u.settled.node.Advertise
	at := func(a netip.Addr, ports []daemonPort) {
		for _, p := range ports {
			note(a, p)
		}
	}
	for _, a := range append(slices.Clone(u.node.Addresses), advertise.Addr()) {
		at(a, overlayPorts(c))
		if !u.node.External {
			at(a, gossipPorts(c.Gossip.Port))
		}
	}
	if !u.node.External {
		at(advertise.Addr(), gossipPorts(advertise.Port()))
	}
}

// daemonPortRules refuses services that take ports of poplin's own. Every
// node redirects what is sent to a service before anybody who listens gets
// it: nodes would no longer hear of each other. It looks for these few ports
// among those in use, and at services only if one is there.
func (t *tree) daemonPortRules() {
	c, uses := t.result.Cluster, t.parser.index.memo.uses
	taken := map[useKey]string{}
	note := func(a netip.Addr, p daemonPort, of *unit) {
		key := useKey{a, p.protocol, p.port}
		switch {
		case uses[key] == 0:
		case of == nil:
			taken[key] = "where " + p.of + " listens on every node"
		default:
			taken[key] = "where " + p.of + " of " + of.object() + " listens"
		}
	}
	for _, p := range daemonNodePorts(c) {
		note(netip.Addr{}, p, nil)
	}
	for _, u := range t.nodes {
		u.daemonPorts(c, func(a netip.Addr, p daemonPort) { note(a, p, u) })
	}
	if len(taken) == 0 {
		return
	}
	for _, u := range t.services {
		for key, use := range u.frontendUses {
			if what := taken[key]; what != "" {
				t.refuseTaken(key, use, what)
			}
		}
	}
}

// refuseTaken reports a node port, or the port of an external address, that a
// service cannot have for what it is.
func (t *tree) refuseTaken(key useKey, use frontendUse, is string) {
	if use.automatic && t.allocating {
		return
	}
	what := fmt.Sprintf("node port %d/%s of %s", key.port, key.protocol, use.unit.meta.Name)
	if key.address.IsValid() {
		what = fmt.Sprintf("external address %s, port %d/%s of %s", key.address, key.port, key.protocol, use.unit.meta.Name)
	}
	hint := ""
	if use.automatic {
		what, hint = what+" (automatic)", allocateHint
	}
	t.refuse(use.unit, use.at, "%s is %s%s", what, is, hint)
}

// frontendUses goes through the node ports of a service, and through the
// ports of its external addresses.
func (u *unit) frontendUses(yield func(useKey, frontendUse) bool) {
	r := u.settled.service
	s := r.service
	external := slices.Concat(s.LoadBalancerIPs, s.ExternalIPs)
	for i, p := range s.Ports {
		if p.NodePort != 0 && !yield(useKey{protocol: p.Protocol, port: p.NodePort}, u.nodePortUse(i)) {
			return
		}
		for j, a := range external {
			use := frontendUse{unit: u}
			if n := len(s.LoadBalancerIPs); j < n {
				use.at, use.automatic = r.balancer[j].at, r.balancer[j].automatic
			} else {
				use.at = pointer("/spec/externalIPs").item(j - n)
			}
			if !yield(useKey{a, p.Protocol, p.Port}, use) {
				return
			}
		}
	}
	if s.HealthCheckNodePort != 0 {
		yield(useKey{protocol: TCP, port: s.HealthCheckNodePort}, u.healthUse())
	}
}
