package services

import (
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// Outside is what services need for clients outside of pods besides frontends.
type Outside struct {
	Balancers    []Balancer // in the order of their addresses
	HealthChecks []HealthCheck
	LocalPorts   []LocalPort
}

// HealthCheck is a port on which a node tells outer load balancers whether it
// is of use.
type HealthCheck struct {
	Service *schema.Service
	Port    uint16
	// Ready counts the endpoints on this node that are ready, whatever port
	// of the service they are for, in the family that has more of them. As with
	// kube-proxy, those that serve while they terminate do not count, so that
	// no new connections are sent here.
	Ready int
}

// LocalPort is a node port that answers on loopback, by carrying connections on
// to the service (TCP).
type LocalPort struct {
	Service *schema.Service
	At      netip.AddrPort
	// Target is the service's cluster IP, so that the kernel chooses the
	// endpoint as for any other client of the node. Where the internal traffic
	// policy is Local it is the node port itself, which has another policy.
	Target netip.AddrPort
}

// Outside computes it as seen from a host.
func (r *Resolver) Outside(v view.View, host Host) Outside {
	out := Outside{LocalPorts: r.localPorts(host)}
	if r.outside == 0 {
		return out
	}
	r.see(v, host)
	out.Balancers = r.balancers(r.announcers(v, host))
	for _, s := range r.config.Services {
		if s.HealthCheckNodePort != 0 {
			out.HealthChecks = append(out.HealthChecks, HealthCheck{s, s.HealthCheckNodePort, r.readyHere(s)})
		}
	}
	return out
}

func (r *Resolver) readyHere(s *schema.Service) int {
	most := 0
	for _, family := range s.Families {
		found := map[netip.Addr]bool{}
		for _, port := range s.Ports {
			for _, c := range r.candidates(s, port, family) {
				if c.local && (c.ready || s.PublishNotReadyAddresses) && !c.terminating {
					found[c.target.Addr()] = true
				}
			}
		}
		most = max(most, len(found))
	}
	return most
}

// localPorts are those of all services, of both families where a service has
// any: the one that it has serves the other.
func (r *Resolver) localPorts(host Host) []LocalPort {
	if !r.config.Cluster.LocalhostNodePorts {
		return nil
	}
	var out []LocalPort
	for _, s := range r.config.Services {
		for _, port := range s.Ports {
			if port.NodePort == 0 || port.Protocol != schema.TCP || len(s.ClusterIPs) == 0 || !admits(s, host.Underlay) {
				continue
			}
			for _, loopback := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
				target := netip.AddrPortFrom(sameFamily(loopback, s.ClusterIPs), port.Port)
				if own := sameFamily(target.Addr(), host.Underlay); s.InternalLocal && own.Is4() == target.Addr().Is4() {
					target = netip.AddrPortFrom(own, port.NodePort)
				}
				out = append(out, LocalPort{s, netip.AddrPortFrom(loopback, port.NodePort), target})
			}
		}
	}
	return out
}

// admits reports whether a service takes connections to its node ports from a
// host, by the ranges of clients that it has. The service sees the host as the
// client, whoever on it uses loopback.
func admits(s *schema.Service, host []netip.Addr) bool {
	return len(s.SourceRanges) == 0 || slices.ContainsFunc(s.SourceRanges, func(p netip.Prefix) bool {
		return slices.ContainsFunc(host, p.Contains)
	})
}

// sameFamily is the first address of the family of a, else the first of all;
// the zero address of none.
func sameFamily(a netip.Addr, list []netip.Addr) netip.Addr {
	for _, o := range list {
		if o.Is4() == a.Is4() {
			return o
		}
	}
	return append(list[:len(list):len(list)], netip.Addr{})[0]
}
