package services

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/schema"
)

// HeadlessEndpoint is a ready endpoint of a headless service: what its name
// stands for in DNS.
type HeadlessEndpoint struct {
	Address netip.Addr
	// Hostname is the endpoint's name below the service's, "" where it has
	// none. A pod has one if its subdomain is the service's name.
	Hostname string
	Weight   int // 1 and above
	// Ports are those of the service that the endpoint has, with its own numbers.
	Ports []HeadlessPort
}

// HeadlessPort is a service's port at an endpoint.
type HeadlessPort struct {
	Name     string
	Protocol schema.Protocol
	Port     uint16
}

// Equal reports whether two endpoints are the same.
func (e HeadlessEndpoint) Equal(o HeadlessEndpoint) bool { return e.Compare(o) == 0 }

// Compare orders endpoints by their addresses, and then in some way.
func (e HeadlessEndpoint) Compare(o HeadlessEndpoint) int {
	return cmp.Or(e.Address.Compare(o.Address), cmp.Compare(e.Hostname, o.Hostname), cmp.Compare(e.Weight, o.Weight),
		slices.CompareFunc(e.Ports, o.Ports, func(a, b HeadlessPort) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
		}))
}

// headless lists the ready endpoints of a headless service, of the families
// that it wants, sorted and each once. Those that only serve while they
// terminate are not ready, unless the service publishes what is not.
func (r *Resolver) headless(s *schema.Service) []HeadlessEndpoint {
	if !s.Headless || s.Type == schema.ExternalName {
		return nil
	}
	var out []HeadlessEndpoint
	for _, family := range []schema.Family{schema.IPv4, schema.IPv6} {
		switch {
		case !slices.Contains(s.Families, family):
		case len(s.Selector) > 0:
			out = append(out, r.headlessPods(s, family)...)
		default:
			out = append(out, r.headlessSlices(s, family)...)
		}
	}
	slices.SortFunc(out, HeadlessEndpoint.Compare)
	return slices.CompactFunc(out, HeadlessEndpoint.Equal)
}

// headlessTotal counts the endpoints of a headless service, whatever their
// states are, in the family that has more of them.
func (r *Resolver) headlessTotal(s *schema.Service) int {
	total := 0
	if s.Headless && s.Type != schema.ExternalName {
		for _, family := range s.Families {
			total = max(total, len(endpointsOf(r.portless(s, family))))
		}
	}
	return total
}

// headlessReady counts addresses, in the family that has more of them.
func headlessReady(sorted []HeadlessEndpoint) int {
	counts := map[schema.Family]int{}
	for i, e := range sorted {
		if i == 0 || sorted[i-1].Address != e.Address {
			counts[schema.FamilyOf(e.Address)]++
		}
	}
	return max(counts[schema.IPv4], counts[schema.IPv6])
}

func (r *Resolver) headlessPods(s *schema.Service, family schema.Family) []HeadlessEndpoint {
	var out []HeadlessEndpoint
	for _, pod := range r.pods.match(s.Namespace, s.Selector) {
		n := r.live.of(pod.NodeName)
		address, ready := n.pod(pod, family)
		ready = ready && !n.drain || s.PublishNotReadyAddresses
		if !address.IsValid() || !ready {
			continue
		}
		e := HeadlessEndpoint{Address: address, Weight: pod.Weight}
		if pod.Subdomain == s.Name.Name {
			e.Hostname = pod.Hostname
		}
		for _, p := range s.Ports {
			if number, ok := targetPort(pod, p); ok {
				e.Ports = append(e.Ports, HeadlessPort{p.Name, p.Protocol, number})
			}
		}
		out = append(out, e)
	}
	return out
}

func (r *Resolver) headlessSlices(s *schema.Service, family schema.Family) []HeadlessEndpoint {
	var out []HeadlessEndpoint
	for _, slice := range r.slices[s.Meta.Name] {
		if slice.Family != family {
			continue
		}
		var ports []HeadlessPort
		for _, p := range slice.Ports {
			ports = append(ports, HeadlessPort(p))
		}
		for i, c := range r.sliceCandidates(slice, schema.SlicePort{}) {
			if c.ready && !c.terminating || s.PublishNotReadyAddresses {
				e := slice.Endpoints[i]
				out = append(out, HeadlessEndpoint{e.Address, e.Hostname, c.weight, ports})
			}
		}
	}
	return out
}
