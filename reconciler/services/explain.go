package services

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// Explanation says of one port of a service, in one family, what could be
// behind it, and why it is or is not.
type Explanation struct {
	Family schema.Family
	// Port is the zero value for all ranges of ports together, and for a
	// headless service without ports.
	Port      schema.ServicePort
	Frontends []Frontend
	// Candidates are in the order of the documents.
	Candidates []Candidate
	// Slots and LocalSlots are how many slots there are, of the list of all
	// endpoints and of that of this node's.
	Slots, LocalSlots int
}

// Candidate is a pod that a service selects, or an endpoint of a slice.
type Candidate struct {
	Pod   schema.Name // zero: it is in a slice
	Slice schema.Name // zero: it is a pod
	Place schema.Place
	Node  string         // "" where none is known
	Local bool           // on this node
	To    netip.AddrPort // zero: it has no address, or not this port
	// Slots and LocalSlots are its shares of new connections, of as many as
	// Explanation has. Without any it is out.
	Slots, LocalSlots int
	Reason            string // why it is in or out
}

// Reasons say why pods of this node are not ready.
type Reasons map[schema.Name]string

// Explain explains every port of a service in every family, as seen from a
// host.
func (r *Resolver) Explain(s *schema.Service, v view.View, host Host, reasons Reasons) []Explanation {
	r.see(v, host)
	x := &explainer{Resolver: r, service: s, reasons: reasons}
	var out []Explanation
	families := s.Families
	if !s.Headless {
		families = nil
		for _, a := range s.ClusterIPs {
			families = append(families, schema.FamilyOf(a))
		}
	}
	for _, port := range s.Ports {
		for i, family := range families {
			e := Explanation{Family: family, Port: port}
			if !s.Headless {
				e.Frontends = r.portFrontends(s, port, s.ClusterIPs[i])
			}
			x.fill(&e, r.candidates(s, port, family))
			out = append(out, e)
		}
	}
	if len(s.PortRanges) == 0 && len(s.Ports) > 0 {
		return out
	}
	x.portless = true
	for _, family := range families {
		e := Explanation{Family: family}
		if !s.Headless {
			e.Frontends = slices.DeleteFunc(r.rangeFrontends(s), func(f Frontend) bool { return f.Family != family })
		}
		x.fill(&e, r.portless(s, family))
		out = append(out, e)
	}
	return out
}

// explainer explains one service.
type explainer struct {
	*Resolver
	service  *schema.Service
	reasons  Reasons
	portless bool
	// onlyLocal says that no frontend leads to other nodes' endpoints.
	onlyLocal bool
	// crowded says that there are more endpoints than slots.
	crowded bool
}

// fill adds the candidates with their shares.
func (x *explainer) fill(e *Explanation, candidates []candidate) {
	b := newBackends(x.service, candidates)
	if len(e.Frontends) > 0 {
		b.hashSlots = e.Frontends[0].HashSlots
	}
	x.onlyLocal = len(e.Frontends) > 0
	for _, f := range e.Frontends {
		x.onlyLocal = x.onlyLocal && f.Kind == ClusterIP && x.service.InternalLocal
	}
	x.crowded = len(b.all) > MaxSlots || len(b.local) > MaxSlots
	all, local := shares(b.all, b.hashSlots), shares(b.local, b.hashSlots)
	if x.onlyLocal {
		all = share{}
	}
	e.Slots, e.LocalSlots = all.total, local.total
	if len(x.service.Selector) > 0 {
		x.pods(e, all, local)
	} else {
		x.slicesOf(e, all, local)
	}
}

// share is how many slots each endpoint has.
type share struct {
	of    map[netip.AddrPort]int
	total int
}

func shares(list []Endpoint, hashSlots int) share {
	slots := Expand(list)
	if hashSlots > 0 {
		slots = HashSlots(list, hashSlots)
	}
	out := share{map[netip.AddrPort]int{}, len(slots)}
	for _, target := range slots {
		out.of[target]++
	}
	return out
}

// take gives an endpoint's slots to the first who asks for them.
func (s share) take(target netip.AddrPort) int {
	n := s.of[target]
	delete(s.of, target)
	return n
}

func (x *explainer) pods(e *Explanation, all, local share) {
	port := e.Port
	if x.portless {
		port.Target = schema.PortRef{Number: 1}
	}
	for _, pod := range x.Resolver.pods.match(x.service.Namespace, x.service.Selector) {
		out := Candidate{Pod: pod.Meta.Name, Place: pod.Place, Node: pod.NodeName, Local: pod.NodeName == x.live.self}
		c, ok := x.podCandidate(pod, port, e.Family)
		if !ok {
			out.Reason = x.unusable(pod, port, e.Family)
			e.Candidates = append(e.Candidates, out)
			continue
		}
		out.To = x.target(c)
		out.Slots, out.LocalSlots = all.take(out.To), local.take(out.To)
		out.Reason = x.reason(c, out, pod.NodeName+" is drained", func() string { return x.notReady(pod) })
		e.Candidates = append(e.Candidates, out)
	}
}

// target leaves the port out where endpoints have none.
func (x *explainer) target(c candidate) netip.AddrPort {
	if x.portless {
		return netip.AddrPortFrom(c.target.Addr(), 0)
	}
	return c.target
}

// unusable says why a pod has no address and port.
func (x *explainer) unusable(pod *schema.Pod, port schema.ServicePort, family schema.Family) string {
	n, known := x.live.nodes[pod.NodeName]
	_, hasPort := targetPort(pod, port)
	switch {
	case !hasPort:
		return fmt.Sprintf("has no port named %q (%s)", port.Target.Name, port.Protocol)
	case !known:
		return pod.NodeName + " is not known"
	case n.failed:
		return failed(pod.NodeName)
	case n.has(pod.Meta.Name):
		return fmt.Sprintf("has no %s address", family)
	case pod.HostNetwork:
		return fmt.Sprintf("%s has no %s address", pod.NodeName, family)
	case pod.NodeName == x.live.self:
		return "has no address yet"
	}
	return pod.NodeName + " does not tell of it yet"
}

// has reports whether a node tells of addresses of a pod.
func (n *node) has(name schema.Name) bool {
	return slices.ContainsFunc(n.pods, func(p view.Pod) bool { return nameOf(p) == name && len(p.Addresses) > 0 })
}

func failed(node string) string { return node + " is failed" }

// notReady says why a pod that has an address is not ready.
func (x *explainer) notReady(pod *schema.Pod) string {
	if pod.NodeName != x.live.self {
		return "not ready, says " + pod.NodeName
	}
	if why := x.reasons[pod.Meta.Name]; why != "" {
		return "not ready: " + why
	}
	return "not ready"
}

// localToo reports whether some frontends lead to this node's endpoints only.
func (x *explainer) localToo() bool { return x.service.InternalLocal || x.service.ExternalLocal }

// reason says why a candidate with an address is in or out.
func (x *explainer) reason(c candidate, out Candidate, terminating string, notReady func() string) string {
	in := out.Slots+out.LocalSlots > 0
	if x.live.of(out.Node).failed {
		notReady = func() string { return failed(out.Node) }
	}
	switch {
	case in && c.terminating && x.service.PublishNotReadyAddresses:
		return terminating + ", but the service publishes addresses that are not ready"
	case in && c.terminating:
		return terminating + ", but serves as long as no other is ready"
	case in && !c.ready:
		return notReady() + ", but the service publishes addresses that are not ready"
	case in && !c.local && x.localToo():
		return "ready; on another node, so out where the policy is Local"
	case in:
		return "ready"
	case c.terminating && c.serving:
		return terminating + ": serves only while no other is ready"
	case !c.ready:
		return notReady()
	case x.onlyLocal && !c.local:
		return "ready, but on another node (internalTrafficPolicy Local)"
	case x.service.TrafficDistribution != "" && !c.local:
		return fmt.Sprintf("ready, but there are nearer ones (trafficDistribution %s)", x.service.TrafficDistribution)
	case x.crowded:
		return fmt.Sprintf("ready, but there are too many: %d get connections", MaxSlots)
	}
	return "is there already" // under the same address, listed before
}

func (x *explainer) slicesOf(e *Explanation, all, local share) {
	for _, slice := range x.Resolver.slices[x.service.Meta.Name] {
		if slice.Family != e.Family {
			continue
		}
		ports := slice.Ports
		if x.portless {
			ports = []schema.SlicePort{{}}
		} else {
			ports = slices.Clone(ports)
			ports = slices.DeleteFunc(ports, func(p schema.SlicePort) bool { return p.Name != e.Port.Name || p.Protocol != e.Port.Protocol })
		}
		if len(ports) == 0 {
			e.Candidates = append(e.Candidates, Candidate{Slice: slice.Meta.Name, Place: slice.Place,
				Reason: fmt.Sprintf("has no port named %q (%s)", e.Port.Name, e.Port.Protocol)})
		}
		for _, port := range ports {
			for i, c := range x.sliceCandidates(slice, port) {
				document := slice.Endpoints[i]
				out := Candidate{Slice: slice.Meta.Name, Place: document.Place, Node: document.NodeName, Local: c.local, To: x.target(c)}
				out.Slots, out.LocalSlots = all.take(out.To), local.take(out.To)
				out.Reason = x.reason(c, out, "terminating", func() string { return "not ready, says the slice" })
				e.Candidates = append(e.Candidates, out)
			}
		}
	}
}

// NearMisses are the pods of a service's namespace, at most so many, that have
// some of its selector's labels but not all, with the first that differs.
func (r *Resolver) NearMisses(s *schema.Service, most int) []Candidate {
	keys := slices.Sorted(maps.Keys(s.Selector))
	if len(keys) == 0 || len(keys) == 1 && len(r.pods.match(s.Namespace, s.Selector)) > 0 {
		return nil
	}
	var out []Candidate
	for _, pod := range r.config.Pods {
		if len(out) == most {
			break
		}
		if pod.Namespace != s.Namespace || hasLabels(pod, s.Selector) {
			continue
		}
		near, reason := false, ""
		for _, k := range keys {
			have, labelled := pod.Labels[k]
			switch {
			case have == s.Selector[k] && labelled:
				near = true
			case reason == "" && labelled:
				near, reason = near || len(keys) == 1, fmt.Sprintf("its label %s is %q, not %q", k, have, s.Selector[k])
			case reason == "":
				reason = fmt.Sprintf("has no label %s", k)
			}
		}
		if near {
			out = append(out, Candidate{Pod: pod.Meta.Name, Place: pod.Place, Node: pod.NodeName, Reason: reason})
		}
	}
	return out
}
