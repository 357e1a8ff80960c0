package services

import (
	"slices"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// Resolver resolves services again and again, as documents and the view
// change. It remembers what it came to, and computes only those services anew
// that a change is about: one that is not is the same Service as before. It is used by one goroutine at a time.
type Resolver struct {
	config *schema.Config
	pods   podIndex
	// users are the services with a selector, by one of its labels.
	users   map[labelKey][]*schema.Service
	slices  map[schema.Name][]*schema.EndpointSlice
	located map[string][]*schema.EndpointSlice // slices by the nodes of their endpoints
	live    live
	outside int // services that something is to be done for outside of the kernel's tables

	out   []*Service
	of    []*schema.Service    // the documents of out
	dirty map[schema.Name]bool // services to resolve anew
	all   bool                 // every one of them
}

// NewResolver makes a resolver of a Config.
func NewResolver(c *schema.Config) *Resolver {
	r := &Resolver{}
	r.Update(c)
	return r
}

// fewChanges is up to which share of the documents changes are made one by
// one.
const fewChanges = 16

// Update goes on with another Config. Where that shares documents with the
// one before, the cost is that of the others.
func (r *Resolver) Update(c *schema.Config) {
	before := r.config
	r.config = c
	if before == nil {
		r.start(c)
		return
	}
	pods := compareLists(before.Pods, c.Pods, comparePods)
	list := compareLists(before.Slices, c.Slices, compareSlices)
	users := compareLists(before.Services, c.Services, compareServices)
	if (pods.len()+list.len()+users.len())*fewChanges > len(c.Pods)+len(c.Slices)+len(c.Services) {
		r.start(c)
		return
	}
	for _, s := range users.gone {
		r.unuse(s)
	}
	for _, s := range users.added {
		r.use(s)
	}
	for _, p := range pods.gone {
		r.pods.remove(p)
		r.touchPod(p)
	}
	for _, p := range pods.added {
		r.pods.add(p)
		r.touchPod(p)
	}
	for _, s := range list.gone {
		r.unplace(s)
		r.dirty[serviceOf(s)] = true
	}
	for _, s := range list.added {
		r.place(s)
		r.dirty[serviceOf(s)] = true
	}
	r.documentedNodes(compareLists(before.Nodes, c.Nodes, compareNodes))
}

// start indexes everything. What the nodes said stays known.
func (r *Resolver) start(c *schema.Config) {
	r.pods, r.users, r.slices, r.located = podIndex{}, map[labelKey][]*schema.Service{}, map[schema.Name][]*schema.EndpointSlice{}, map[string][]*schema.EndpointSlice{}
	r.dirty, r.all, r.outside = map[schema.Name]bool{}, true, 0
	for _, s := range c.Services {
		r.use(s)
	}
	for _, p := range c.Pods {
		r.pods.add(p)
	}
	for _, s := range c.Slices {
		r.place(s)
	}
	if r.live.nodes == nil {
		r.live.nodes = map[string]*node{}
	}
	for _, n := range r.live.nodes {
		n.zone, n.drain, n.documented = "", false, nil
	}
	for _, n := range c.Nodes {
		r.document(n)
	}
}

// userKey is the label by which a service is found from a pod.
func userKey(s *schema.Service) (labelKey, bool) {
	key, first := labelKey{}, true
	for k, v := range s.Selector {
		if first || k < key.key {
			key, first = labelKey{s.Namespace, k, v}, false
		}
	}
	return key, !first
}

func (r *Resolver) use(s *schema.Service) {
	if hasOutside(s) {
		r.outside++
	}
	if key, ok := userKey(s); ok {
		r.users[key] = append(r.users[key], s)
	}
}

func (r *Resolver) unuse(s *schema.Service) {
	if hasOutside(s) {
		r.outside--
	}
	if key, ok := userKey(s); ok {
		without(r.users, key, s)
	}
}

// hasOutside reports whether a service has addresses to announce or a health
// check to answer.
func hasOutside(s *schema.Service) bool {
	return len(s.PoolIPs) > 0 || s.HealthCheckNodePort != 0
}

func (r *Resolver) place(s *schema.EndpointSlice) {
	r.slices[serviceOf(s)] = append(r.slices[serviceOf(s)], s)
	for _, name := range nodesOf(s) {
		r.located[name] = append(r.located[name], s)
	}
}

func (r *Resolver) unplace(s *schema.EndpointSlice) {
	without(r.slices, serviceOf(s), s)
	for _, name := range nodesOf(s) {
		without(r.located, name, s)
	}
}

// nodesOf are the nodes of a slice's endpoints, each once.
func nodesOf(s *schema.EndpointSlice) []string {
	var out []string
	for _, e := range s.Endpoints {
		if e.NodeName != "" {
			out = append(out, e.NodeName)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func serviceOf(s *schema.EndpointSlice) schema.Name {
	return schema.Name{Namespace: s.Namespace, Name: s.Service}
}

// document notes what a Node document says.
func (r *Resolver) document(d *schema.Node) {
	n := r.live.at(d.Meta.Name.Name)
	n.zone, n.drain, n.documented = d.Labels[schema.ZoneLabel], d.Drain, d.Addresses
}

func (r *Resolver) documentedNodes(nodes changes[*schema.Node]) {
	own := r.live.of(r.live.self).zone
	for _, d := range nodes.gone {
		n := r.live.at(d.Meta.Name.Name)
		n.zone, n.drain, n.documented = "", false, nil
		r.touchNode(d.Meta.Name.Name)
	}
	for _, d := range nodes.added {
		r.document(d)
		r.touchNode(d.Meta.Name.Name)
	}
	if r.live.of(r.live.self).zone != own {
		r.all = true
	}
}

// see notes what the view says of nodes and their pods.
func (r *Resolver) see(v view.View, host Host) {
	if r.live.self != host.Node {
		r.live.self, r.all = host.Node, true
	}
	there := make(map[string]bool, len(v.Peers)+1)
	note := func(name string, p view.Peer) {
		there[name] = true
		n := r.live.at(name)
		if n.say(p.Underlay, p.State == view.Failed, p.Health) {
			r.touchNode(name)
		}
		n.host(p.Pods, func(pod schema.Name) { r.touchPodOn(name, pod) })
	}
	for _, p := range v.Peers {
		note(p.Name, p)
	}
	note(host.Node, view.Peer{Underlay: host.Underlay, Pods: v.Self.Pods})
	for name := range r.live.nodes {
		if !there[name] {
			note(name, view.Peer{})
		}
	}
}

// touchPod has the services that select a pod resolved anew.
func (r *Resolver) touchPod(p *schema.Pod) {
	if r.all {
		return
	}
	for k, v := range p.Labels {
		for _, s := range r.users[labelKey{p.Namespace, k, v}] {
			if hasLabels(p, s.Selector) {
				r.dirty[s.Meta.Name] = true
			}
		}
	}
}

// touchPodOn does so for a pod that a node told of, if documents place it
// there.
func (r *Resolver) touchPodOn(node string, name schema.Name) {
	if r.all {
		return
	}
	i, found := slices.BinarySearchFunc(r.config.Pods, name, func(p *schema.Pod, name schema.Name) int { return p.Meta.Name.Compare(name) })
	if found && r.config.Pods[i].NodeName == node {
		r.touchPod(r.config.Pods[i])
	}
}

// touchNode has all services with endpoints on a node resolved anew.
func (r *Resolver) touchNode(name string) {
	if r.all {
		return
	}
	for _, p := range r.config.PodsOn(name) {
		r.touchPod(p)
	}
	for _, s := range r.located[name] {
		r.dirty[serviceOf(s)] = true
	}
}

// Resolve computes all services as seen from a host, in the order of the
// documents. Headless services have no frontends. The result must not be
// changed: the next one shares it, and a service that is the same pointer in
// both did not change.
func (r *Resolver) Resolve(v view.View, host Host) []*Service {
	r.see(v, host)
	if r.all {
		r.out, r.of = nil, nil
	}
	documents := r.config.Services
	if len(r.dirty) > 0 || !slices.Equal(r.of, documents) {
		r.out = r.merge(documents)
		for name := range r.dirty {
			i, found := slices.BinarySearchFunc(documents, name, func(s *schema.Service, name schema.Name) int { return s.Meta.Name.Compare(name) })
			if found {
				r.out[i] = r.resolve(documents[i])
			}
		}
	}
	r.of, r.all = documents, false
	clear(r.dirty)
	return r.out
}

// merge resolves the documents that were not there before. It looks into those
// that differ only, and never into what became of the others: with tens of
// thousands that costs more than all else.
func (r *Resolver) merge(documents []*schema.Service) []*Service {
	out := make([]*Service, len(documents))
	of, old := r.of, r.out
	for i, s := range documents {
		for len(of) > 0 && of[0] != s && of[0].Meta.Name.Compare(s.Meta.Name) < 0 {
			of, old = of[1:], old[1:]
		}
		if len(of) > 0 && of[0] == s {
			out[i] = old[0]
			of, old = of[1:], old[1:]
			continue
		}
		out[i] = r.resolve(s)
	}
	return out
}

func (r *Resolver) resolve(s *schema.Service) *Service {
	return &Service{Document: s, Frontends: r.frontends(s), Headless: r.headless(s), HeadlessTotal: r.headlessTotal(s)}
}
