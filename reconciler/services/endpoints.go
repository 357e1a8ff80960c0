package services

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/schema"
)

// candidate is an endpoint before it is known whether it takes connections.
type candidate struct {
	target                      netip.AddrPort
	weight                      int
	node                        string
	local                       bool // on this node
	sameZone                    bool // as this node
	ready, serving, terminating bool
}

// backends are the endpoints of one port in one family that take connections.
type backends struct {
	all, local []Endpoint
	ready      int // take connections, near ones or not
	total      int // whether they take connections or not
	hashSlots  int // see Frontend
}

func newBackends(s *schema.Service, candidates []candidate) backends {
	taking := choose(s, candidates)
	b := backends{all: endpointsOf(near(s, taking)), ready: len(endpointsOf(taking)), total: len(endpointsOf(candidates))}
	if s.InternalLocal || s.ExternalLocal {
		here := slices.DeleteFunc(candidates, func(c candidate) bool { return !c.local })
		b.local = endpointsOf(choose(s, here))
	}
	return b
}

// near leaves the endpoints that the service prefers to others: those of
// this node, else those of its zone, else all.
func near(s *schema.Service, list []candidate) []candidate {
	prefer := func(is func(candidate) bool) []candidate {
		var out []candidate
		for _, c := range list {
			if is(c) {
				out = append(out, c)
			}
		}
		return out
	}
	if s.TrafficDistribution == schema.PreferSameNode {
		if out := prefer(func(c candidate) bool { return c.local }); len(out) > 0 {
			return out
		}
	}
	if s.TrafficDistribution != "" {
		if out := prefer(func(c candidate) bool { return c.sameZone }); len(out) > 0 {
			return out
		}
	}
	return list
}

// behind completes a frontend with what is behind it for whom. The internal
// traffic policy counts for cluster IPs, the external one for the others:
// there pods and the host itself use every endpoint even where it is Local.
func (b backends) behind(s *schema.Service, f Frontend) Frontend {
	f.Endpoints, f.Ready, f.HashSlots = b.all, b.ready, b.hashSlots
	switch {
	case f.Kind == ClusterIP && s.InternalLocal:
		f.Endpoints, f.Elsewhere = b.local, len(b.local) == 0 && len(b.all) > 0
	case f.Kind != ClusterIP && s.ExternalLocal:
		f.OutsideLocal, f.Local = true, b.local
	}
	if len(s.SourceRanges) > 0 && (f.Kind == NodePort || f.Kind == LoadBalancer) {
		f.Restricted = true
		for _, p := range s.SourceRanges {
			if schema.FamilyOf(p.Addr()) == f.Family {
				f.Sources = append(f.Sources, p)
			}
		}
	}
	return f
}

// choose picks the endpoints that take new connections: the ready ones, else
// those that serve while they terminate. Where a service publishes addresses
// that are not ready all count as ready, also those that terminate.
func choose(s *schema.Service, all []candidate) []candidate {
	pick := func(accept func(candidate) bool) []candidate {
		var out []candidate
		for _, c := range all {
			if accept(c) {
				out = append(out, c)
			}
		}
		return out
	}
	out := pick(func(c candidate) bool { return c.ready && !c.terminating || s.PublishNotReadyAddresses })
	if len(out) == 0 {
		out = pick(func(c candidate) bool { return c.serving && c.terminating })
	}
	return out
}

// endpointsOf sorts endpoints, and leaves out those that are there twice.
func endpointsOf(list []candidate) []Endpoint {
	var out []Endpoint
	for _, c := range list {
		out = append(out, Endpoint{c.target, c.weight})
	}
	slices.SortFunc(out, func(a, b Endpoint) int {
		return cmp.Or(a.Target.Compare(b.Target), cmp.Compare(b.Weight, a.Weight))
	})
	return slices.CompactFunc(out, func(a, b Endpoint) bool { return a.Target == b.Target })
}

// candidates lists the endpoints of one port in one family: from pods for a
// service with a selector, from slices for one without.
func (r *Resolver) candidates(s *schema.Service, port schema.ServicePort, family schema.Family) []candidate {
	var out []candidate
	if len(s.Selector) > 0 {
		for _, pod := range r.pods.match(s.Namespace, s.Selector) {
			if c, ok := r.podCandidate(pod, port, family); ok {
				out = append(out, c)
			}
		}
		return out
	}
	for _, slice := range r.slices[s.Meta.Name] {
		if slice.Family != family {
			continue
		}
		for _, p := range slice.Ports {
			if p.Name == port.Name && p.Protocol == port.Protocol {
				out = append(out, r.sliceCandidates(slice, p)...)
			}
		}
	}
	return out
}

// portless lists the endpoints of a service in one family without ports.
func (r *Resolver) portless(s *schema.Service, family schema.Family) []candidate {
	var out []candidate
	if len(s.Selector) > 0 {
		out = r.candidates(s, schema.ServicePort{Target: schema.PortRef{Number: 1}}, family)
	} else {
		for _, slice := range r.slices[s.Meta.Name] {
			if slice.Family == family {
				out = append(out, r.sliceCandidates(slice, schema.SlicePort{})...)
			}
		}
	}
	for i, c := range out {
		out[i].target = netip.AddrPortFrom(c.target.Addr(), 0)
	}
	return out
}

// documented counts the endpoints that a service has in the documents, which
// all nodes agree on, whatever their states are.
func (r *Resolver) documented(s *schema.Service, family schema.Family) int {
	if len(s.Selector) > 0 {
		return len(r.pods.match(s.Namespace, s.Selector))
	}
	n := 0
	for _, slice := range r.slices[s.Meta.Name] {
		if slice.Family == family {
			n += len(slice.Endpoints)
		}
	}
	return n
}

func (r *Resolver) sliceCandidates(s *schema.EndpointSlice, port schema.SlicePort) []candidate {
	out := make([]candidate, 0, len(s.Endpoints))
	for _, e := range s.Endpoints {
		n := r.live.of(e.NodeName)
		zone := cmp.Or(e.Zone, n.zone)
		out = append(out, candidate{
			target: netip.AddrPortFrom(e.Address, port.Port), weight: s.Weight, node: e.NodeName, local: e.NodeName != "" && e.NodeName == r.live.self,
			sameZone: zone != "" && zone == r.live.of(r.live.self).zone,
			ready:    e.Ready && !n.failed, serving: e.Serving && !n.failed, terminating: e.Terminating,
		})
	}
	return out
}

func (r *Resolver) podCandidate(pod *schema.Pod, port schema.ServicePort, family schema.Family) (candidate, bool) {
	number, ok := targetPort(pod, port)
	if !ok {
		return candidate{}, false
	}
	n := r.live.of(pod.NodeName)
	address, ready := n.pod(pod, family)
	if !address.IsValid() {
		return candidate{}, false
	}
	return candidate{
		target: netip.AddrPortFrom(address, number), weight: pod.Weight, node: pod.NodeName, local: pod.NodeName == r.live.self,
		sameZone: n.zone != "" && n.zone == r.live.of(r.live.self).zone,
		ready:    ready, serving: ready, terminating: n.drain,
	}, true
}

// targetPort finds the number of a service port's target in a pod.
func targetPort(pod *schema.Pod, port schema.ServicePort) (uint16, bool) {
	if port.Target.Number != 0 {
		return port.Target.Number, true
	}
	for _, p := range pod.Ports {
		if p.Name == port.Target.Name && p.Protocol == port.Protocol {
			return p.Port, true
		}
	}
	return 0, false
}
