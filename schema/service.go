package schema

import (
	"net/netip"
	"slices"
	"time"
)

// serviceDraft is a Service as far as its document says; the Cluster decides
// the rest.
type serviceDraft struct {
	service  Service
	explicit []netip.Addr // cluster IPs that are written, in order
	families []Family     // that are written, in order
	policy   string       // "" where none is written
	single   bool         // the address is in clusterIP, not in clusterIPs
	// balancer are load balancer addresses that are written.
	balancer    []writtenAddress
	ownBalancer bool // poplin gives it addresses
	nodePorts   bool // ports without a node port get one
}

// draft converts a Service but for what the Cluster decides.
func (c *conversion) draft(d *serviceDocument) *serviceDraft {
	s := &d.Spec
	out := &serviceDraft{
		service: Service{
			Meta:                     c.meta,
			Type:                     ServiceType(orDefault(s.Type, string(ClusterIP))),
			Selector:                 s.Selector,
			TrafficDistribution:      TrafficDistribution(s.TrafficDistribution),
			ExternalName:             s.ExternalName,
			ConsistentHash:           c.meta.Annotations["poplin/load-balancing"] == "consistent-hash",
			PublishNotReadyAddresses: s.PublishNotReadyAddresses,
			InternalLocal:            s.InternalTrafficPolicy == policyLocal,
			ExternalLocal:            s.ExternalTrafficPolicy == policyLocal,
		},
		policy: s.IPFamilyPolicy,
	}
	if !isDNSLabel(c.meta.Name.Name) {
		c.refuse("/metadata/name", "%q must be a DNS label (a-z, 0-9 and - inside, at most 63 characters)", c.meta.Name.Name)
	}
	for _, f := range s.IPFamilies {
		out.families = append(out.families, familyNamed(f))
	}
	if len(out.families) == 2 && out.families[0] == out.families[1] {
		c.refuse("/spec/ipFamilies/1", "%s is named twice", out.families[0])
	}
	if s.TrafficDistribution == "PreferClose" {
		out.service.TrafficDistribution = PreferSameZone
	}
	c.clusterIPs(s, out)
	c.externalName(s, out)
	c.servicePorts(s, out)
	c.portRanges(out)
	c.external(d, out)
	c.affinity(s, out)
	c.portRangeLimits(out)
	return out
}

// defaultAffinity is Kubernetes', in seconds: three hours.
const defaultAffinity = 10800

func (c *conversion) affinity(s *serviceSpec, out *serviceDraft) {
	switch {
	case s.SessionAffinity == "ClientIP":
		timeout := defaultAffinity
		if s.AffinityConfig != nil {
			timeout = orDefault(s.AffinityConfig.ClientIP.TimeoutSeconds, defaultAffinity)
		}
		if out.service.ConsistentHash {
			c.refuse("/spec/sessionAffinity", "with poplin/load-balancing: consistent-hash a client has its endpoint anyway; take one of them out")
		}
		out.service.Affinity = time.Duration(timeout) * time.Second
	case s.AffinityConfig != nil:
		c.refuse("/spec/sessionAffinityConfig", "only sessionAffinity: ClientIP has a configuration")
	}
}

// clusterIPs reads clusterIP and clusterIPs, which say the same thing in the
// forms of one and of two families.
func (c *conversion) clusterIPs(s *serviceSpec, out *serviceDraft) {
	list, at := s.ClusterIPs, pointer("/spec/clusterIPs")
	if len(list) == 0 && s.ClusterIP != "" {
		list, out.single = []string{s.ClusterIP}, true
	}
	if len(s.ClusterIPs) > 0 && s.ClusterIP != "" && s.ClusterIP != s.ClusterIPs[0] {
		c.refuse("/spec/clusterIP", "clusterIP is %s, but the first of clusterIPs is %s", s.ClusterIP, s.ClusterIPs[0])
	}
	for i, text := range list {
		where := at.item(i)
		if out.single {
			where = "/spec/clusterIP"
		}
		switch {
		case text == "None" && len(list) > 1:
			c.refuse(where, "None stands alone")
		case text == "None":
			out.service.Headless = true
		case text == "":
			if len(s.ClusterIPs) > 0 {
				c.refuse(where, "an address is missing")
			}
		default:
			out.explicit = append(out.explicit, netip.MustParseAddr(text))
		}
	}
	c.onePerFamily(at, out.explicit)
	for i, a := range out.explicit {
		if i < len(out.families) && FamilyOf(a) != out.families[i] {
			c.refuse(pointer("/spec/ipFamilies").item(i), "the family is %s, but the cluster IP there is %s", out.families[i], a)
		}
	}
	if out.policy == "SingleStack" && (len(out.explicit) > 1 || len(out.families) > 1) {
		c.refuse("/spec/ipFamilyPolicy", "SingleStack with two families; write PreferDualStack or RequireDualStack")
	}
	if out.service.Headless && out.service.Type != ClusterIP && out.service.Type != ExternalName {
		c.refuse("/spec/clusterIP", "a service of type %s cannot be headless", out.service.Type)
	}
}

// externalName checks that a name has no addresses.
func (c *conversion) externalName(s *serviceSpec, out *serviceDraft) {
	if out.service.Type != ExternalName {
		if s.ExternalName != "" {
			c.refuse("/spec/externalName", "a service of type %s stands for no name; write type: ExternalName", out.service.Type)
		}
		return
	}
	if s.ExternalName == "" {
		c.refuse("/spec", "a service of type ExternalName needs an externalName")
	}
	if len(out.explicit) > 0 {
		at := pointer("/spec/clusterIPs")
		if out.single {
			at = "/spec/clusterIP"
		}
		c.refuse(at, "a service of type ExternalName has no address")
	}
	if len(s.ExternalIPs) > 0 {
		c.refuse("/spec/externalIPs", "a service of type ExternalName has no address")
	}
}

func (c *conversion) servicePorts(s *serviceSpec, out *serviceDraft) {
	type protocolPort struct {
		protocol Protocol
		port     uint16
	}
	at := pointer("/spec/ports")
	if len(s.Ports) == 0 && !out.service.Headless && out.service.Type != ExternalName && c.meta.Annotations[portRangeAnnotation] == "" {
		c.refuse("/spec", "a service that is not headless has at least one port")
	}
	names, ports, nodePorts := map[string]bool{}, map[protocolPort]bool{}, map[protocolPort]bool{}
	list := c.root.get("spec").get("ports")
	for i, p := range s.Ports {
		port := servicePort(&p)
		port.Place = c.place(list.items[i])
		here := at.item(i)
		switch {
		case port.Name == "" && len(s.Ports) > 1:
			c.refuse(here, "with several ports each needs a name")
		case port.Name != "" && names[port.Name]:
			c.refuse(here.field("name"), "two ports are named %q", port.Name)
		}
		front, node := protocolPort{port.Protocol, port.Port}, protocolPort{port.Protocol, port.NodePort}
		if ports[front] {
			c.refuse(here.field("port"), "port %d/%s is there twice", port.Port, port.Protocol)
		}
		if port.NodePort != 0 && nodePorts[node] {
			c.refuse(here.field("nodePort"), "node port %d/%s is there twice", port.NodePort, port.Protocol)
		}
		if port.NodePort != 0 && (out.service.Type == ClusterIP || out.service.Type == ExternalName) {
			c.refuse(here.field("nodePort"), "a service of type %s has no node ports; write type: NodePort", out.service.Type)
		}
		names[port.Name], ports[front], nodePorts[node] = true, true, true
		out.service.Ports = append(out.service.Ports, port)
	}
}

func servicePort(p *servicePortSpec) ServicePort {
	port := ServicePort{
		Name:     p.Name,
		Protocol: protocolOf(p.Protocol),
		Port:     uint16(p.Port),
		Target:   PortRef{Number: uint16(p.TargetPort.number), Name: p.TargetPort.name},
		NodePort: uint16(p.NodePort),
	}
	if port.Target == (PortRef{}) {
		port.Target.Number = port.Port
	}
	return port
}

// resolvedService is a Service with all its addresses and ports.
type resolvedService struct {
	service *Service
	// automatic cluster IPs and ports are those that the document leaves
	// open, by their index.
	automaticIPs   []bool
	automaticPorts []bool
	// balancer says of each load balancer address where it is from.
	balancer        []balancerAddress
	automaticHealth bool // of the health check's node port
	automatic       int  // how many there are of all
	findings        []finding
	warnings        []finding
}

func (r *resolvedService) refuse(at pointer, message string) {
	r.findings = append(r.findings, finding{at: at, message: message})
}

// resolve settles what the Cluster decides: families, addresses and node
// ports that nobody wrote down, and whether those that somebody did are in
// range.
func (d *serviceDraft) resolve(cluster *Cluster) *resolvedService {
	service := d.service
	service.Ports = slices.Clone(d.service.Ports)
	r := &resolvedService{service: &service}
	service.Families = d.resolveFamilies(cluster, r)
	if !service.Headless && service.Type != ExternalName {
		d.resolveAddresses(cluster, r)
	}
	r.automaticPorts = make([]bool, len(service.Ports))
	for i := range service.Ports {
		port := &service.Ports[i]
		at := pointer("/spec/ports").item(i).field("nodePort")
		switch {
		case port.NodePort == 0 && !d.nodePorts:
		case port.NodePort == 0:
			port.NodePort = automaticNodePort(service.Name, *port, cluster.NodePortRange, 0)
			r.automaticPorts[i] = true
		case !cluster.NodePortRange.Contains(port.NodePort):
			r.refuse(at, nodePortRangeText(port.NodePort, cluster.NodePortRange))
		}
	}
	d.resolveExternal(cluster, r)
	all := append(slices.Concat(r.automaticIPs, r.automaticPorts), r.automaticHealth)
	for _, b := range r.balancer {
		all = append(all, b.automatic)
	}
	for _, automatic := range all {
		if automatic {
			r.automatic++
		}
	}
	return r
}

// resolveFamilies follows Kubernetes: SingleStack where nothing is written,
// two where two addresses or families are, and both of the Cluster for a
// headless service without selector.
func (d *serviceDraft) resolveFamilies(cluster *Cluster, r *resolvedService) []Family {
	var have []Family
	for _, p := range cluster.ServiceCIDRs {
		have = append(have, FamilyOf(p.Addr()))
	}
	want := slices.Clone(d.families)
	for i, a := range d.explicit {
		if i >= len(want) {
			want = append(want, FamilyOf(a))
		}
	}
	dual := d.policy == "PreferDualStack" || d.policy == "RequireDualStack" ||
		d.policy == "" && d.service.Headless && len(d.service.Selector) == 0 && len(want) == 0
	if len(want) == 0 {
		want = have[:1:1]
	}
	if dual && len(want) == 1 {
		for _, f := range have {
			if f != want[0] {
				want = append(want, f)
			}
		}
	}
	if d.policy == "RequireDualStack" && len(have) < 2 {
		r.refuse("/spec/ipFamilyPolicy", "RequireDualStack, but the Cluster has one service range, of "+have[0].String())
	}
	for i, f := range want {
		if !slices.Contains(have, f) && i < len(d.families) {
			r.refuse(pointer("/spec/ipFamilies").item(i), "the Cluster has no service range of "+f.String())
		}
	}
	return want
}

func (d *serviceDraft) resolveAddresses(cluster *Cluster, r *resolvedService) {
	for i, family := range r.service.Families {
		if i < len(d.explicit) {
			r.service.ClusterIPs = append(r.service.ClusterIPs, d.explicit[i])
			r.automaticIPs = append(r.automaticIPs, false)
			d.checkAddress(i, d.explicit[i], cluster, r)
			continue
		}
		for _, p := range cluster.ServiceCIDRs {
			if FamilyOf(p.Addr()) == family {
				r.service.ClusterIPs = append(r.service.ClusterIPs, newAddressPool(p, cluster.DNS.Addresses).address(r.service.Name, 0))
				r.automaticIPs = append(r.automaticIPs, true)
			}
		}
	}
}

func (d *serviceDraft) checkAddress(i int, a netip.Addr, cluster *Cluster, r *resolvedService) {
	at := d.addressAt(i)
	if !anyUsable(cluster.ServiceCIDRs, a) {
		r.refuse(at, "cluster IP "+a.String()+" is not an address that a service can have in "+joinPrefixes(cluster.ServiceCIDRs))
	}
	if slices.Contains(cluster.DNS.Addresses, a) && cluster.DNS.Enabled {
		r.refuse(at, "cluster IP "+a.String()+" is the address of DNS")
	}
}

// addressAt names the field that a cluster IP stands in; for one that stands
// nowhere, the name that it follows from.
func (d *serviceDraft) addressAt(i int) pointer {
	switch {
	case i >= len(d.explicit):
		return "/metadata/name"
	case d.single:
		return "/spec/clusterIP"
	}
	return pointer("/spec/clusterIPs").item(i)
}

func nodePortRangeText(port uint16, r PortRange) string {
	return "node port " + itoa(port) + " is outside of " + itoa(r.First) + "-" + itoa(r.Last)
}
