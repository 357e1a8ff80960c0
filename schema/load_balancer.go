package schema

import (
	"net/netip"
	"slices"
)

// policyLocal is the traffic policy that is not the default.
const policyLocal = "Local"

// ownLoadBalancer reports whether poplin makes the load balancer of a class.
func ownLoadBalancer(class string) bool { return class == "" || class == LoadBalancerClass }

// writtenAddress is a load balancer address in a document.
type writtenAddress struct {
	at      pointer
	address netip.Addr
}

// balancerAddress says where a load balancer address is from.
type balancerAddress struct {
	at        pointer
	automatic bool
}

// external reads what concerns clients outside of the cluster.
func (c *conversion) external(d *serviceDocument, out *serviceDraft) {
	s, v := &d.Spec, &out.service
	v.ExternalIPs = addresses(s.ExternalIPs)
	v.HealthCheckNodePort = uint16(s.HealthCheckNodePort)
	v.SourceRanges = outermost(prefixes(s.LoadBalancerSourceRanges))
	allocate := s.AllocateNodePorts == nil || *s.AllocateNodePorts
	out.nodePorts = v.Type == NodePort || v.Type == LoadBalancer && allocate
	for i, a := range v.ExternalIPs {
		at := pointer("/spec/externalIPs").item(i)
		c.unicast(at, a)
		if slices.Contains(v.ExternalIPs[:i], a) {
			c.refuse(at, "%s is there twice", a)
		}
	}
	if v.Headless && len(v.ExternalIPs) > 0 {
		c.refuse("/spec/externalIPs", "a headless service has no addresses")
	}
	if v.ExternalLocal && (v.Type == ClusterIP || v.Type == ExternalName) && len(v.ExternalIPs) == 0 {
		c.refuse("/spec/externalTrafficPolicy", "a service of type %s without external IPs has no clients outside", v.Type)
	}
	if v.HealthCheckNodePort != 0 && (v.Type != LoadBalancer || !v.ExternalLocal) {
		c.refuse("/spec/healthCheckNodePort", "only type LoadBalancer with externalTrafficPolicy Local has a health check")
	}
	if v.Type == LoadBalancer {
		c.loadBalancer(d, out)
		return
	}
	for field, written := range map[string]bool{
		"loadBalancerIP": s.LoadBalancerIP != "", "loadBalancerClass": s.LoadBalancerClass != "",
		"loadBalancerSourceRanges": len(s.LoadBalancerSourceRanges) > 0, "allocateLoadBalancerNodePorts": !allocate,
	} {
		if written {
			c.refuse(pointer("/spec").field(field), "a service of type %s has no load balancer; write type: LoadBalancer", v.Type)
		}
	}
}

// loadBalancer collects the addresses that are written. loadBalancerIP is a
// wish to whoever makes the load balancer, status.loadBalancer.ingress what
// came of it.
func (c *conversion) loadBalancer(d *serviceDocument, out *serviceDraft) {
	add := func(at pointer, text string) {
		a := netip.MustParseAddr(text)
		c.unicast(at, a)
		if !slices.ContainsFunc(out.balancer, func(w writtenAddress) bool { return w.address == a }) {
			out.balancer = append(out.balancer, writtenAddress{at, a})
		}
	}
	out.ownBalancer = ownLoadBalancer(d.Spec.LoadBalancerClass)
	if d.Spec.LoadBalancerIP != "" && out.ownBalancer {
		add("/spec/loadBalancerIP", d.Spec.LoadBalancerIP)
	}
	for i, ingress := range d.Status.LoadBalancer.Ingress {
		if ingress.IP != "" && ingress.IPMode != "Proxy" {
			add(pointer("/status/loadBalancer/ingress").item(i).field("ip"), ingress.IP)
		}
	}
}

// loadBalancerRanges reads the pool of load balancer addresses. Its ranges
// are disjoint, among themselves and from the other ranges.
func (c *conversion) loadBalancerRanges(list []string, out *Cluster) {
	at := pointer("/spec/loadBalancerCIDRs")
	for i, text := range list {
		r, _ := parseAddrRange(text)
		here := at.item(i)
		for _, special := range specialRanges() {
			if r.overlaps(special) {
				c.refuse(here, "%s overlaps %s, which has a meaning of its own", text, special)
			}
		}
		for _, p := range slices.Concat(out.PodCIDRs, out.ServiceCIDRs) {
			if r.overlaps(p) {
				c.refuse(here, "%s overlaps %s, a range of pods or services", text, p)
			}
		}
		for _, a := range out.DNS.Addresses {
			if r.Contains(a) {
				c.refuse(here, "%s has the address of DNS, %s", text, a)
			}
		}
		for _, o := range out.LoadBalancerCIDRs {
			if o.Contains(r.First) || r.Contains(o.First) {
				c.refuse(here, "%s overlaps %s-%s", text, o.First, o.Last)
			}
		}
		out.LoadBalancerCIDRs = append(out.LoadBalancerCIDRs, r)
	}
}

// resolveExternal settles the addresses for clients outside.
func (d *serviceDraft) resolveExternal(cluster *Cluster, r *resolvedService) {
	s := r.service
	for i, a := range s.ExternalIPs {
		at := pointer("/spec/externalIPs").item(i)
		if !anyPrefix(cluster.ExternalIPCIDRs, a) {
			r.refuse(at, "external IP "+a.String()+" is in none of the Cluster's externalIPCIDRs")
		}
		d.checkExternal(at, a, cluster, r)
	}
	if s.Type != LoadBalancer {
		return
	}
	d.resolveBalancer(cluster, r)
	r.closedFamilies()
	switch {
	case !s.ExternalLocal:
	case s.HealthCheckNodePort == 0:
		s.HealthCheckNodePort, r.automaticHealth = automaticHealthPort(s.Name, cluster.NodePortRange, 0), true
	case !cluster.NodePortRange.Contains(s.HealthCheckNodePort):
		r.refuse("/spec/healthCheckNodePort", nodePortRangeText(s.HealthCheckNodePort, cluster.NodePortRange))
	}
}

// closedFamilies warns of families of which the source ranges have none: with
// ranges of one family the other is closed to everybody.
func (r *resolvedService) closedFamilies() {
	s := r.service
	for _, a := range s.ClusterIPs {
		family := FamilyOf(a)
		reached := slices.ContainsFunc(s.LoadBalancerIPs, func(a netip.Addr) bool { return FamilyOf(a) == family }) ||
			slices.ContainsFunc(s.Ports, func(p ServicePort) bool { return p.NodePort != 0 })
		if reached && len(s.SourceRanges) > 0 && !hasFamily(s.SourceRanges, family) {
			everybody := "0.0.0.0/0"
			if family == IPv6 {
				everybody = "::/0"
			}
			r.warnings = append(r.warnings, finding{
				at:      "/spec/loadBalancerSourceRanges",
				message: "no range is of " + family.String() + ", so nobody reaches load balancer and node ports over it; " + everybody + " is everybody",
			})
		}
	}
}

// checkExternal refuses external addresses that are something else already,
// or that the service could not answer on.
func (d *serviceDraft) checkExternal(at pointer, a netip.Addr, cluster *Cluster, r *resolvedService) {
	for _, p := range slices.Concat(cluster.PodCIDRs, cluster.ServiceCIDRs) {
		if p.Contains(a) {
			r.refuse(at, a.String()+" is inside "+p.String()+", a range of pods or services")
		}
	}
	if cluster.DNS.Enabled && slices.Contains(cluster.DNS.Addresses, a) && !anyPrefix(cluster.ServiceCIDRs, a) {
		r.refuse(at, a.String()+" is the address of DNS")
	}
	if !slices.Contains(r.service.Families, FamilyOf(a)) {
		r.refuse(at, a.String()+" is "+FamilyOf(a).String()+", of which the service has no cluster IP; see ipFamilies")
	}
}

// resolveBalancer settles the load balancer addresses: those that are
// written, and one out of the pool for each family without.
func (d *serviceDraft) resolveBalancer(cluster *Cluster, r *resolvedService) {
	s := r.service
	have := map[Family]bool{}
	add := func(a netip.Addr, b balancerAddress) {
		have[FamilyOf(a)] = true
		s.LoadBalancerIPs = append(s.LoadBalancerIPs, a)
		r.balancer = append(r.balancer, b)
		if d.ownBalancer && anyRange(cluster.LoadBalancerCIDRs, a) {
			s.PoolIPs = append(s.PoolIPs, a)
		}
	}
	for _, w := range d.balancer {
		switch {
		case anyRange(cluster.LoadBalancerCIDRs, w.address):
		case w.at == "/spec/loadBalancerIP":
			r.refuse(w.at, "load balancer address "+w.address.String()+" is in none of the Cluster's loadBalancerCIDRs")
		case !anyPrefix(cluster.ExternalIPCIDRs, w.address):
			r.refuse(w.at, "load balancer address "+w.address.String()+" is neither in the Cluster's loadBalancerCIDRs nor in its externalIPCIDRs")
		}
		d.checkExternal(w.at, w.address, cluster, r)
		add(w.address, balancerAddress{at: w.at})
	}
	for _, family := range s.Families {
		pool := newBalancerPool(cluster.LoadBalancerCIDRs, family)
		if d.ownBalancer && !have[family] && pool.count > 0 {
			add(pool.address(s.Name, 0), balancerAddress{at: "/metadata/name", automatic: true})
		}
	}
	if d.ownBalancer && len(s.LoadBalancerIPs) == 0 {
		r.warnings = append(r.warnings, finding{at: "/spec/type", message: "the Cluster has no loadBalancerCIDRs for it: the load balancer stays pending"})
	}
}
