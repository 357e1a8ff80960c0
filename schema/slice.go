package schema

import (
	"fmt"
	"net/netip"
)

// serviceNameLabel is the label with which a slice names its Service.
const serviceNameLabel = "kubernetes.io/service-name"

// slice converts an EndpointSlice.
func (c *conversion) slice(d *sliceDocument) *EndpointSlice {
	out := &EndpointSlice{
		Meta:    c.meta,
		Service: c.meta.Labels[serviceNameLabel],
		Family:  familyNamed(d.AddressType),
		Weight:  c.weight(),
		Ports:   c.slicePorts("/ports", d.Ports),
	}
	if out.Service == "" {
		at := pointer("/metadata/labels")
		if c.root.at(at) == nil {
			at = "/metadata"
		}
		c.refuse(at, "label %s is missing; it names the Service", serviceNameLabel)
	}
	nodes := c.root.get("endpoints")
	seen := make(map[netip.Addr]bool, len(d.Endpoints))
	for i := range d.Endpoints {
		e := c.sliceEndpoint(i, &d.Endpoints[i], out.Family)
		e.Place = c.place(nodes.items[i])
		if seen[e.Address] {
			c.refuse(pointer("/endpoints").item(i).field("addresses"), "%s is in this slice twice", e.Address)
		}
		seen[e.Address] = true
		out.Endpoints = append(out.Endpoints, e)
	}
	return out
}

// sliceEndpoint applies the defaults of Kubernetes: ready where nothing is
// said, serving as ready.
func (c *conversion) sliceEndpoint(i int, s *sliceEndpointSpec, family Family) SliceEndpoint {
	e := SliceEndpoint{
		Address:     netip.MustParseAddr(s.Addresses[0]),
		Ready:       s.Conditions.Ready == nil || *s.Conditions.Ready,
		Terminating: s.Conditions.Terminating,
		NodeName:    s.NodeName,
		Zone:        s.Zone,
		Hostname:    s.Hostname,
	}
	e.Serving = e.Ready
	if s.Conditions.Serving != nil {
		e.Serving = *s.Conditions.Serving
	}
	what := notUnicast(e.Address)
	if FamilyOf(e.Address) != family {
		what = "not " + family.String() + ", the slice's addressType"
	}
	if what != "" {
		c.refuse(pointer("/endpoints").item(i).field("addresses").item(0), "%s is %s", e.Address, what)
	}
	return e
}

func (c *conversion) slicePorts(at pointer, specs []slicePortSpec) []SlicePort {
	var ports []SlicePort
	names := map[string]bool{}
	for i, p := range specs {
		if names[p.Name] {
			c.refuse(at.item(i), "two ports %s", namedOrNot(p.Name))
		}
		names[p.Name] = true
		ports = append(ports, SlicePort{p.Name, protocolOf(p.Protocol), uint16(p.Port)})
	}
	return ports
}

func namedOrNot(name string) string {
	if name == "" {
		return "have no name"
	}
	return fmt.Sprintf("are named %q", name)
}

// endpoints converts an Endpoints document to a slice for each subset and
// family. Their names hold colons, so that no document can have them.
func (c *conversion) endpoints(d *endpointsDocument) []*EndpointSlice {
	var out []*EndpointSlice
	for i := range d.Subsets {
		s := &d.Subsets[i]
		at := pointer("/subsets").item(i)
		n := c.root.at(at)
		ports := c.slicePorts(at.field("ports"), s.Ports)
		var list []SliceEndpoint
		list = append(list, c.endpointAddresses(at.field("addresses"), n.get("addresses"), s.Addresses, true)...)
		list = append(list, c.endpointAddresses(at.field("notReadyAddresses"), n.get("notReadyAddresses"), s.NotReadyAddresses, false)...)
		for _, family := range []Family{IPv4, IPv6} {
			slice := &EndpointSlice{Meta: c.meta, Service: c.meta.Name.Name, Family: family, Weight: 1, Ports: ports}
			slice.Name.Name = fmt.Sprintf("%s:%d:%s", c.meta.Name.Name, i, family)
			for _, e := range list {
				if FamilyOf(e.Address) == family {
					slice.Endpoints = append(slice.Endpoints, e)
				}
			}
			if len(slice.Endpoints) > 0 {
				out = append(out, slice)
			}
		}
	}
	return out
}

func (c *conversion) endpointAddresses(at pointer, n *node, list []endpointAddressSpec, ready bool) []SliceEndpoint {
	var out []SliceEndpoint
	for i, s := range list {
		a := netip.MustParseAddr(s.IP)
		if what := notUnicast(a); what != "" {
			c.refuse(at.item(i).field("ip"), "%s is %s", a, what)
		}
		out = append(out, SliceEndpoint{
			Address: a, Ready: ready, Serving: ready,
			NodeName: s.NodeName, Hostname: s.Hostname, Place: c.place(n.items[i]),
		})
	}
	return out
}

// sliceAddresses refuses endpoints that are addresses of services: one that
// led to itself would go round for ever.
func (u *unit) sliceAddresses(c *Cluster) []finding {
	var findings []finding
	for _, s := range u.slices {
		for i := range s.Endpoints {
			a := s.Endpoints[i].Address
			for _, p := range c.ServiceCIDRs {
				if p.Contains(a) {
					findings = append(findings, finding{at: u.endpointAt(s, i), message: a.String() + " is a cluster IP; an endpoint cannot be one"})
				}
			}
		}
	}
	return findings
}

// endpointAt points to an endpoint of a slice in its document.
func (u *unit) endpointAt(s *EndpointSlice, i int) pointer {
	if u.kind.name == "EndpointSlice" {
		return pointer("/endpoints").item(i).field("addresses").item(0)
	}
	return "/subsets"
}
