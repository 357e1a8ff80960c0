package services

import (
	"net/netip"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// Outside is what services need for clients outside of the cluster besides
// frontends.
type Outside struct {
	Balancers    []Balancer // in the order of their addresses
	HealthChecks []HealthCheck
}

// HealthCheck is a port on which a node tells outer load balancers whether it
// is of use.
type HealthCheck struct {
	Service *schema.Service
	Port    uint16
	// Ready counts the endpoints on this node that are ready, whatever port
	// of the service they are for. As with kube-proxy, those that serve while
	// they terminate do not count, so that no new connections are sent here.
	Ready int
}

// Outside computes it as seen from a host.
func (r *Resolver) Outside(v view.View, host Host) Outside {
	var out Outside
	if !r.hasOutside() {
		return out
	}
	live := newLive(r.config, v, host)
	out.Balancers = r.balancers(live, r.announcers(v, host))
	for _, s := range r.config.Services {
		if s.HealthCheckNodePort != 0 {
			out.HealthChecks = append(out.HealthChecks, HealthCheck{s, s.HealthCheckNodePort, r.readyHere(s, live)})
		}
	}
	return out
}

func (r *Resolver) hasOutside() bool {
	for _, s := range r.config.Services {
		if len(s.PoolIPs) > 0 || s.HealthCheckNodePort != 0 {
			return true
		}
	}
	return false
}

func (r *Resolver) readyHere(s *schema.Service, live *live) int {
	found := map[netip.Addr]bool{}
	for _, port := range s.Ports {
		for _, family := range s.Families {
			for _, c := range r.candidates(s, port, family, live) {
				if c.local && (c.ready || s.PublishNotReadyAddresses) && !c.terminating {
					found[c.target.Addr()] = true
				}
			}
		}
	}
	return len(found)
}
