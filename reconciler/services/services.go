// Package services computes, from documents and the view, on which frontends
// each Service answers and which endpoints are behind them. It is pure, and
// the one place that knows the rules: the compiler of nftables elements,
// discovery and explain all read its result.
//
// The rules are those of Kubernetes (Service, EndpointSlice v1): an endpoint
// takes connections if it is ready; if none is ready, those that still serve
// while they terminate do.
package services

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/poplin-net/poplin/schema"
)

// Service is a Service with its frontends.
type Service struct {
	Document  *schema.Service
	Frontends []Frontend
	// Headless are the ready endpoints of a headless service.
	Headless []HeadlessEndpoint
	// HeadlessTotal counts a headless service's endpoints, whatever their
	// states are; of the family that has more of them.
	HeadlessTotal int
}

// Counts says how many endpoints a service has, and how many of them take
// connections. One with several ports or addresses counts once.
func (s *Service) Counts() (ready, total int) {
	for _, f := range s.Frontends {
		if f.Kind == ClusterIP && f.Total > total {
			ready, total = f.Ready, f.Total
		}
	}
	if len(s.Headless) > 0 || s.HeadlessTotal > 0 {
		return headlessReady(s.Headless), s.HeadlessTotal
	}
	return ready, total
}

// FrontendKind says through which kind of address a frontend is reached.
type FrontendKind uint8

// The kinds.
const (
	ClusterIP FrontendKind = iota + 1
	NodePort
	LoadBalancer
	ExternalIP
)

// Frontend is an address and port on which a service answers. A node port
// has no address of its own.
type Frontend struct {
	Kind     FrontendKind
	Family   schema.Family
	Address  netip.Addr // zero for node ports
	Protocol schema.Protocol
	Port     uint16
	// LastPort is the last of a range of ports that starts with Port, or 0.
	// The endpoints of a range have no port: the client's is kept.
	LastPort uint16
	PortName string
	// Endpoints take new connections, in the order of their addresses and
	// without duplicates.
	Endpoints []Endpoint
	// HashSlots is the number of slots that HashSlots spreads endpoints over;
	// 0 where connections are drawn at random.
	HashSlots int
	// Elsewhere says that Endpoints is empty only because the traffic policy
	// wants endpoints of this node, and all are on others: connections are
	// dropped, not refused.
	Elsewhere bool
	// OutsideLocal says that clients outside of pods and of this host get the
	// endpoints in Local, those of this node, and no others.
	OutsideLocal bool
	Local        []Endpoint
	// Affinity is how long a client stays with its endpoint; 0: not at all.
	Affinity time.Duration
	// Restricted says that only clients in Sources may use it.
	Restricted bool
	Sources    []netip.Prefix
	// Endpoint states, for status: how many there are and how many serve.
	Ready, Total int
}

// Endpoint takes new connections in proportion to its weight.
type Endpoint struct {
	Target netip.AddrPort
	Weight int // 1 and above
}

// String gives the address and port, and the weight unless it is 1.
func (e Endpoint) String() string {
	if e.Weight == 1 {
		return e.Target.String()
	}
	return fmt.Sprintf("%s*%d", e.Target, e.Weight)
}

// Equal reports whether two frontends are the same but for the counts.
func (f Frontend) Equal(o Frontend) bool {
	return f.Kind == o.Kind && f.Family == o.Family && f.Address == o.Address && f.Protocol == o.Protocol &&
		f.Port == o.Port && f.LastPort == o.LastPort && f.HashSlots == o.HashSlots && f.Elsewhere == o.Elsewhere && f.OutsideLocal == o.OutsideLocal && f.Restricted == o.Restricted && f.Affinity == o.Affinity &&
		slices.Equal(f.Sources, o.Sources) &&
		slices.Equal(f.Endpoints, o.Endpoints) && slices.Equal(f.Local, o.Local)
}

// Host is what of this node the rules depend on.
type Host struct {
	Node     string
	Underlay []netip.Addr
}

func (r *Resolver) frontends(s *schema.Service) []Frontend {
	if s.Headless {
		return nil
	}
	var out []Frontend
	for _, port := range s.Ports {
		for _, address := range s.ClusterIPs {
			out = append(out, r.portFrontends(s, port, address)...)
		}
	}
	return append(out, r.rangeFrontends(s)...)
}

// portFrontends are those for one port, in the family of a cluster IP.
func (r *Resolver) portFrontends(s *schema.Service, port schema.ServicePort, address netip.Addr) []Frontend {
	family := schema.FamilyOf(address)
	b := newBackends(s, r.candidates(s, port, family))
	if s.ConsistentHash {
		b.hashSlots = hashSlots(r.documented(s, family))
	}
	var out []Frontend
	add := func(kind FrontendKind, address netip.Addr, number uint16) {
		f := Frontend{Kind: kind, Family: family, Address: address, Protocol: port.Protocol, Port: number, PortName: port.Name, Affinity: s.Affinity, Total: b.total}
		out = append(out, b.behind(s, f))
	}
	add(ClusterIP, address, port.Port)
	if port.NodePort != 0 {
		add(NodePort, netip.Addr{}, port.NodePort)
	}
	for _, a := range s.LoadBalancerIPs {
		if schema.FamilyOf(a) == family {
			add(LoadBalancer, a, port.Port)
		}
	}
	for _, a := range s.ExternalIPs {
		if schema.FamilyOf(a) == family && !slices.Contains(s.LoadBalancerIPs, a) {
			add(ExternalIP, a, port.Port)
		}
	}
	return out
}

// rangeFrontends are those for ranges of ports: on cluster IPs, and on load
// balancer addresses that are poplin's.
func (r *Resolver) rangeFrontends(s *schema.Service) []Frontend {
	if len(s.PortRanges) == 0 {
		return nil
	}
	var out []Frontend
	for _, address := range slices.Concat(s.ClusterIPs, s.PoolIPs) {
		family := schema.FamilyOf(address)
		b := newBackends(s, r.portless(s, family))
		kind := LoadBalancer
		if slices.Contains(s.ClusterIPs, address) {
			kind = ClusterIP
		}
		for _, p := range s.PortRanges {
			f := Frontend{Kind: kind, Family: family, Address: address, Protocol: p.Protocol, Port: p.First, LastPort: p.Last, Total: b.total}
			out = append(out, b.behind(s, f))
		}
	}
	return out
}
