package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/nft"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// nearMisses is how many pods are named that a service nearly selects.
const nearMisses = 5

// ExplainService implements api.Backend.
func (d *Daemon) ExplainService(ctx context.Context, namespace, name string) (api.ServiceExplanation, error) {
	loop := d.loop.Load()
	if loop == nil {
		return api.ServiceExplanation{}, errors.New("there is no accepted revision yet")
	}
	var observed reconciler.Observation
	var a accountState
	var err error
	loop.Between(func(e *reconciler.Engine) {
		a = d.account.read()
		observed, err = e.Observe(ctx)
	})
	switch {
	case err != nil:
		return api.ServiceExplanation{}, err
	case a.facts.revision == nil:
		return api.ServiceExplanation{}, errors.New("the first round is not done yet")
	}
	a.facts.health = d.readiness.prober.Results()
	counts, err := d.counts(ctx)
	if err != nil {
		return api.ServiceExplanation{}, err
	}
	return explainService(a, schema.Name{Namespace: namespace, Name: name}, observed.State, counts)
}

// explainService says all that is known of a service.
func explainService(a accountState, name schema.Name, observed reconciler.State, counts map[reconciler.ElementKey]nft.Count) (api.ServiceExplanation, error) {
	c := a.facts.revision.Config
	at, found := slices.BinarySearchFunc(c.Services, name, func(s *schema.Service, n schema.Name) int { return s.Meta.Name.Compare(n) })
	if !found {
		return api.ServiceExplanation{}, &api.UnknownError{Message: unknownService(c, name)}
	}
	s := c.Services[at]
	out := api.ServiceExplanation{
		APIVersion: api.APIVersion, Kind: "ServiceExplanation", Node: a.facts.node, Revision: a.facts.revision.ID,
		Namespace: name.Namespace, Name: name.Name, Origin: a.origin(s.Place), Type: string(s.Type), Selector: s.Selector,
		Notes: serviceNotes(s), Ports: []api.ExplainedPort{}, Elements: explainedElements(a.goal.State, observed, name),
	}
	reasons := services.Reasons{}
	for _, p := range a.goal.view.Self.Pods {
		reasons[schema.Name{Namespace: p.Namespace, Name: p.Name}] = podStatus(p, a).Reason
	}
	r := services.NewResolver(c)
	for _, e := range r.Explain(s, a.goal.view, services.Host{Node: a.facts.node, Underlay: a.goal.host.Underlay.Addresses}, reasons) {
		out.Ports = append(out.Ports, a.explainedPort(s, e, counts))
	}
	for _, m := range r.NearMisses(s, nearMisses) {
		out.NotSelected = append(out.NotSelected, a.explainedEndpoint(m))
	}
	return out, nil
}

// unknownService names services that could be meant.
func unknownService(c *schema.Config, name schema.Name) string {
	var known []string
	elsewhere := ""
	for _, s := range c.Services {
		known = append(known, s.Meta.Name.String())
		if s.Meta.Name.Name == name.Name && elsewhere == "" {
			elsewhere = s.Meta.Name.String()
		}
	}
	text := fmt.Sprintf("there is no service %s", name)
	if elsewhere != "" {
		return fmt.Sprintf("%s; did you mean %q?", text, elsewhere)
	}
	return text + schema.DidYouMean(name.String(), known)
}

// serviceNotes say what is special about a service.
func serviceNotes(s *schema.Service) []string {
	var out []string
	add := func(holds bool, text string) {
		if holds {
			out = append(out, text)
		}
	}
	add(s.Type == schema.ExternalName, "stands for the name "+s.ExternalName+": it has no frontends and no endpoints")
	add(s.Headless && s.Type != schema.ExternalName, "headless: it has no frontends, only endpoints")
	add(s.Type == schema.LoadBalancer && len(s.LoadBalancerIPs) == 0, "has no load balancer address yet")
	add(s.InternalLocal, "internalTrafficPolicy Local")
	add(s.ExternalLocal, "externalTrafficPolicy Local")
	add(s.TrafficDistribution != "", "trafficDistribution "+string(s.TrafficDistribution))
	add(s.ConsistentHash, "consistent hash of the client's address")
	add(s.Affinity > 0, "clients stay with their endpoint for "+s.Affinity.String())
	add(s.PublishNotReadyAddresses, "publishes addresses that are not ready")
	return out
}

func (a accountState) origin(p schema.Place) api.Origin {
	if p == (schema.Place{}) {
		return api.Origin{}
	}
	return api.Origin{File: p.File, Line: p.Line, Revision: a.facts.revision.ID}
}

func (a accountState) explainedPort(s *schema.Service, e services.Explanation, counts map[reconciler.ElementKey]nft.Count) api.ExplainedPort {
	out := api.ExplainedPort{
		Name: e.Port.Name, Port: e.Port.Port, Family: e.Family.String(), Origin: a.origin(e.Port.Place),
		Frontends: []api.ExplainedFrontend{}, Endpoints: []api.ExplainedEndpoint{}, Slots: e.Slots, LocalSlots: e.LocalSlots,
	}
	if e.Port.Port != 0 {
		out.Protocol, out.TargetPort = e.Port.Protocol.String(), e.Port.Target.Name
		if out.TargetPort == "" {
			out.TargetPort = fmt.Sprint(e.Port.Target.Number)
		}
	}
	for _, f := range e.Frontends {
		out.Frontends = append(out.Frontends, explainedFrontend(s, f, counts))
	}
	for _, c := range e.Candidates {
		out.Endpoints = append(out.Endpoints, a.explainedEndpoint(c))
	}
	return out
}

// Where connections go, in ExplainedFrontend.
const (
	toAll     = "all"
	toLocal   = "local"
	toRefused = "refused"
	toDropped = "dropped"
)

func explainedFrontend(s *schema.Service, f services.Frontend, counts map[reconciler.ElementKey]nft.Count) api.ExplainedFrontend {
	out := api.ExplainedFrontend{
		Frontend: frontendStatus(f, counts), To: toAll, Restricted: f.Restricted, Sources: f.Sources, HashSlots: f.HashSlots, Affinity: int(f.Affinity.Seconds()),
	}
	switch {
	case f.Elsewhere:
		out.To = toDropped
	case len(f.Endpoints) == 0:
		out.To = toRefused
	case f.Kind == services.ClusterIP && s.InternalLocal:
		out.To = toLocal
	}
	if f.OutsideLocal && len(f.Endpoints) > 0 {
		out.Outside = toLocal
		if len(f.Local) == 0 {
			out.Outside = toDropped
		}
	}
	return out
}

func (a accountState) explainedEndpoint(c services.Candidate) api.ExplainedEndpoint {
	out := api.ExplainedEndpoint{
		Node: c.Node, Origin: a.origin(c.Place), In: c.Slots+c.LocalSlots > 0, Slots: c.Slots, LocalSlots: c.LocalSlots, Reason: c.Reason,
	}
	if c.Pod.Name != "" {
		out.Pod = c.Pod.String()
	} else {
		out.Slice = c.Slice.String()
	}
	switch {
	case !c.To.IsValid():
	case c.To.Port() == 0:
		out.Address = c.To.Addr().String()
	default:
		out.Address = c.To.String()
	}
	return out
}

// explainedElements are the elements that a service asks for, with the chains
// that they lead to, and whether the kernel has them.
func explainedElements(desired, observed reconciler.State, name schema.Name) []api.ExplainedElement {
	out := []api.ExplainedElement{}
	g := desired.Group("service " + name.String())
	if g == nil {
		return out
	}
	wanted := chainsOf(desired, g)
	wanted = append(wanted, g.Objects...)
	there := make(map[reconciler.Object]bool, len(wanted))
	for _, o := range wanted {
		there[o] = false
	}
	for _, o := range observed.Objects() {
		if _, asked := there[o]; asked {
			there[o] = true
		}
	}
	for _, o := range wanted {
		out = append(out, api.ExplainedElement{Text: o.String(), InKernel: there[o]})
	}
	return out
}

// chainsOf are the chains that a group's elements lead to, and the elements
// that lead there from the chains' numbers.
func chainsOf(desired reconciler.State, g *reconciler.Group) []reconciler.Object {
	used, numbered := map[reconciler.ChainKey]bool{}, map[reconciler.ChainKey]bool{}
	for _, o := range g.Objects {
		if e, ok := o.(reconciler.Element); ok && e.Chain != "" {
			key := reconciler.ChainKey{Family: e.Family, Name: e.Chain}
			used[key] = true
			numbered[key] = numbered[key] || e.Set == reconciler.SetServices
		}
	}
	var out []reconciler.Object
	if all := desired.Group(compile.ChainsGroup); all != nil {
		for _, o := range all.Objects {
			switch o := o.(type) {
			case reconciler.Chain:
				if used[o.Key().(reconciler.ChainKey)] {
					out = append(out, o)
				}
			case reconciler.Element:
				if numbered[reconciler.ChainKey{Family: o.Family, Name: o.Chain}] {
					out = append(out, o)
				}
			}
		}
	}
	return out
}
