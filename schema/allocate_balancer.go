package schema

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// balancers gives every service its load balancer addresses, as clusterIPs
// does. Those that are written may be of several services.
func (a *allocator) balancers() (map[*unit][]netip.Addr, error) {
	used := map[netip.Addr]bool{}
	out := map[*unit][]netip.Addr{}
	var rest []wanted
	for _, automatic := range []bool{false, true} {
		for _, u := range a.tree.services {
			r := u.settled.service
			for i, ip := range r.service.LoadBalancerIPs {
				if r.balancer[i].automatic != automatic {
					continue
				}
				if automatic && used[ip] {
					rest = append(rest, wanted{u, i})
				}
				if automatic && out[u] == nil {
					out[u] = slices.Clone(r.service.LoadBalancerIPs)
				}
				used[ip] = true
			}
		}
	}
	for _, w := range rest {
		pool := newBalancerPool(a.tree.result.Cluster.LoadBalancerCIDRs, FamilyOf(out[w.unit][w.index]))
		ip, ok := firstFree(pool.count, func(step uint64) netip.Addr { return pool.address(w.unit.meta.Name, step) }, used)
		if !ok {
			return nil, fmt.Errorf("%s: no free address in the Cluster's loadBalancerCIDRs", w.unit.object())
		}
		out[w.unit][w.index] = ip
	}
	return out, nil
}

// editBalancer writes the load balancer addresses of one service: a single
// one as loadBalancerIP, several into status, which is where Kubernetes has
// them.
func (a *allocator) editBalancer(u *unit, ips []netip.Addr) error {
	if len(ips) == 0 {
		return nil
	}
	document, e := a.tree.document(u), a.editor(u.meta.Place.File)
	e.owner = u
	items := make([]string, len(ips))
	for i, ip := range ips {
		if u.settled.service.balancer[i].automatic {
			a.out.Changes = append(a.out.Changes, fmt.Sprintf("%s: %s: load balancer address %s", u.meta.Place.File, u.object(), ip))
		}
		items[i] = ip.String()
		if e.json || ip.Is6() {
			items[i] = fmt.Sprintf("%q", items[i])
		}
	}
	if len(ips) == 1 {
		return e.set(document.get("spec"), "loadBalancerIP", items[0], "")
	}
	if document.key("status") != nil {
		return errors.New("write the addresses into status.loadBalancer.ingress, which is there already")
	}
	for i, text := range items {
		items[i] = "{" + e.field("ip", text) + "}"
	}
	value := "{" + e.field("loadBalancer", "{"+e.field("ingress", "["+strings.Join(items, ", ")+"]")+"}") + "}"
	return e.set(document, "status", value, "kind")
}
