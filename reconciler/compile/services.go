package compile

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// compiledService is what became of a service, kept while its inputs are the
// same.
type compiledService struct {
	document  *schema.Service
	frontends []services.Frontend
	group     *reconciler.Group
	slots     Slots
	chains    []reconciler.Chain // that its frontends go to
	hashed    hashedEndpoints
}

// compiledServices are those of the last time, in the order of their names.
type compiledServices struct {
	inputs   []*services.Service // as they were resolved
	compiled []*compiledService  // what became of each
	// uses counts the frontends that go to a chain; turns says how often the
	// chains in use were others than before.
	uses  map[reconciler.Chain]int
	turns int
	// pooled counts the services with addresses of the Cluster's pool, and
	// poolIPs are those; nil: to be gathered.
	pooled  int
	poolIPs []netip.Addr
}

// reset forgets all services, and returns their groups.
func (c *compiledServices) reset() (gone []*reconciler.Group) {
	if len(c.compiled) == 0 {
		return nil
	}
	for _, s := range c.compiled {
		gone = append(gone, s.group)
	}
	*c = compiledServices{turns: c.turns + 1}
	return gone
}

// compile makes one group per service that has frontends, and returns those
// that go and those that come. Services that were resolved to the very same
// as before are not looked into.
func (c *compiledServices) compile(b *builder, resolved []*services.Service) (gone, added []*reconciler.Group) {
	if len(b.subnets) == 0 {
		return c.reset(), nil
	}
	if c.uses == nil {
		c.uses = map[reconciler.Chain]int{}
	}
	if sameSlice(c.inputs, resolved) {
		return nil, nil
	}
	var inKernel Slots
	if len(c.compiled) == 0 {
		inKernel = SlotsOf(b.Observed)
	}
	out := make([]*compiledService, len(resolved))
	i := 0
	leave := func(s *compiledService) {
		gone = append(gone, s.group)
		c.use(s, -1)
	}
	for n, s := range resolved {
		if i < len(c.inputs) && c.inputs[i] == s {
			out[n] = c.compiled[i]
			i++
			continue
		}
		for i < len(c.inputs) && c.inputs[i].Document.Meta.Name.Compare(s.Document.Meta.Name) < 0 {
			leave(c.compiled[i])
			i++
		}
		slots := inKernel
		if i < len(c.inputs) && c.inputs[i].Document.Meta.Name == s.Document.Meta.Name {
			old := c.compiled[i]
			i++
			if sameService(old, s) {
				out[n] = old
				continue
			}
			leave(old)
			slots = old.slots
		}
		out[n] = b.service(s, slots)
		c.use(out[n], 1)
		added = append(added, out[n].group)
	}
	for _, s := range c.compiled[i:] {
		leave(s)
	}
	c.inputs, c.compiled = resolved, out
	return gone, added
}

// use notes, or with -1 forgets, which chains a service uses.
func (c *compiledServices) use(s *compiledService, by int) {
	for _, chain := range s.chains {
		before := c.uses[chain]
		if c.uses[chain] = before + by; before+by == 0 {
			delete(c.uses, chain)
		}
		if before == 0 || before+by == 0 {
			c.turns++
		}
	}
	if len(s.document.PoolIPs) > 0 {
		c.pooled += by
		c.poolIPs = nil
	}
}

// pools are the addresses that services have of the Cluster's pool, each
// once.
func (c *compiledServices) pools(b *builder) []netip.Addr {
	if c.pooled == 0 || c.poolIPs != nil {
		return c.poolIPs
	}
	seen := map[netip.Addr]bool{}
	for _, s := range b.Config.Services {
		for _, a := range s.PoolIPs {
			if !seen[a] {
				seen[a] = true
				c.poolIPs = append(c.poolIPs, a)
			}
		}
	}
	return c.poolIPs
}

func sameService(c *compiledService, s *services.Service) bool {
	return c.document == s.Document && slices.EqualFunc(c.frontends, s.Frontends, services.Frontend.Equal)
}

// service makes the elements of one service. before gives the slots that its
// endpoints have had.
func (b *builder) service(s *services.Service, before Slots) *compiledService {
	out := &compiledService{document: s.Document, frontends: s.Frontends, slots: newSlots()}
	out.group = &reconciler.Group{Name: "service " + s.Document.Meta.Name.String(), Origin: b.origin(s.Document.Place)}
	seen := map[netip.Addr]bool{}
	for _, f := range s.Frontends {
		family := reconciler.Family(reconciler.IPv4)
		if f.Family == schema.IPv6 {
			family = reconciler.IPv6
		}
		if !b.has(family) {
			continue
		}
		if f.LastPort != 0 {
			out.portRange(family, f, before)
		} else {
			out.frontend(family, f, before)
		}
		if f.Kind == services.ClusterIP && !seen[f.Address] {
			seen[f.Address] = true
			out.add(reconciler.Element{Family: family, Set: reconciler.SetClusterAddresses, Address: f.Address})
		}
	}
	return out
}

func (c *compiledService) add(e reconciler.Element) { c.group.Objects = append(c.group.Objects, e) }

// frontendSets are the sets that a kind of frontend has its elements in, and
// the chains that ask for its clients.
type frontendSets struct {
	entry, outside, inside, endpoints, sticky, masquerade, sources reconciler.SetName
	traffic, connections                                           reconciler.SetName
	external, restricted                                           string
}

func setsOf(f services.Frontend) frontendSets {
	if f.Kind == services.NodePort {
		return frontendSets{
			reconciler.SetNodePorts, reconciler.SetOutsideNodePorts, reconciler.SetInsideNodePorts,
			reconciler.SetNodePortEndpoints, reconciler.SetNodePortSticky, reconciler.SetMasqueradeNodePorts, reconciler.SetNodePortSourceRanges,
			reconciler.SetNodePortTraffic, reconciler.SetNodePortConnections,
			reconciler.ChainNodePortExternal, reconciler.ChainNodePortRestricted,
		}
	}
	return frontendSets{
		reconciler.SetSpecialServices, reconciler.SetOutsideServices, reconciler.SetInsideServices,
		reconciler.SetEndpoints, reconciler.SetSticky, reconciler.SetMasqueradeServices, reconciler.SetSourceRanges,
		reconciler.SetTraffic, reconciler.SetConnections,
		reconciler.ChainExternal, reconciler.ChainRestricted,
	}
}

// frontend adds the elements of one frontend: where it goes, and a slot for
// each endpoint.
func (c *compiledService) frontend(family reconciler.Family, f services.Frontend, before Slots) {
	sets := setsOf(f)
	key := FrontendKey{Family: family, Address: f.Address, Protocol: reconciler.Protocol(f.Protocol), Port: f.Port}
	local := key
	local.Local = true
	base := reconciler.Element{Family: family, Address: key.Address, Protocol: key.Protocol, Port: key.Port}
	element := func(set reconciler.SetName, chain string) {
		e := base
		e.Set, e.Chain = set, chain
		c.add(e)
	}
	all := c.pick(key, f, f.Endpoints, before)
	asks := f.OutsideLocal || f.Restricted
	masquerade := reconciler.ChainMasqueradeAll
	switch {
	case !asks || len(f.Endpoints) == 0:
		entry := sets.entry
		if _, ok := reconciler.NumberOf(all); ok && f.Kind != services.NodePort {
			entry = reconciler.SetServices
		}
		element(entry, all)
		asks = false
	case f.Restricted:
		element(sets.entry, sets.restricted)
	default:
		element(sets.entry, sets.external)
	}
	if asks {
		element(sets.inside, all)
	}
	if asks && f.OutsideLocal {
		element(sets.outside, c.pick(local, f, f.Local, before))
		masquerade = reconciler.ChainMasqueradeInside
	}
	if asks && f.Restricted {
		for _, p := range f.Sources {
			e := base
			e.Set, e.Prefix = sets.sources, p
			c.add(e)
		}
	}
	if f.Kind != services.ClusterIP {
		element(sets.masquerade, masquerade)
	}
	c.endpoints(base, sets, key, f)
	c.endpoints(base, sets, local, f)
	c.counters(base, sets.traffic, sets.connections)
}

// counters adds what counts for a frontend, whether it has endpoints or not:
// an element that stays keeps what it counted.
func (c *compiledService) counters(base reconciler.Element, list ...reconciler.SetName) {
	for _, set := range list {
		e := base
		e.Set = set
		c.add(e)
	}
}

// portRange adds the elements of a range of ports. The ranges of an address
// and protocol share their endpoints.
func (c *compiledService) portRange(family reconciler.Family, f services.Frontend, before Slots) {
	key := FrontendKey{Family: family, Address: f.Address, Protocol: reconciler.Protocol(f.Protocol)}
	base := reconciler.Element{Family: family, Address: key.Address, Protocol: key.Protocol}
	_, shared := c.slots.Order[key]
	entry := base
	entry.Set, entry.Port, entry.LastPort = reconciler.SetPortRanges, f.Port, f.LastPort
	entry.Chain = c.pick(key, f, f.Endpoints, before)
	c.add(entry)
	entry.Chain = ""
	c.counters(entry, reconciler.SetRangeTraffic, reconciler.SetRangeConnections)
	if shared {
		return
	}
	for i, target := range c.slots.Order[key] {
		e := base
		e.Set, e.Slot, e.Target = reconciler.SetRangeEndpoints, uint32(i), target
		c.add(e)
	}
}

// endpoints adds the slots of a list. With affinity a slot leads to the chain
// that makes a client stick to the endpoint, which has an id besides.
func (c *compiledService) endpoints(base reconciler.Element, sets frontendSets, key FrontendKey, f services.Frontend) {
	first, firstID := uint32(0), uint32(reconciler.FirstID)
	if key.Local {
		first, firstID = reconciler.LocalSlots, reconciler.FirstLocalID
	}
	ids := c.slots.IDs[key]
	for i, target := range c.slots.Order[key] {
		e := base
		e.Set, e.Slot, e.Target = sets.endpoints, first+uint32(i), target
		if f.Affinity > 0 {
			e.Set, e.Target, e.Chain = sets.sticky, netip.AddrPort{}, c.stick(key, f, ids[target])
		}
		c.add(e)
	}
	for _, target := range slices.SortedFunc(maps.Keys(ids), netip.AddrPort.Compare) {
		e := base
		e.Set, e.Slot, e.Target = sets.endpoints, firstID+uint32(ids[target]), target
		c.add(e)
	}
}

// stick names the chain that makes clients stick to an endpoint.
func (c *compiledService) stick(key FrontendKey, f services.Frontend, id int) string {
	chain := reconciler.Chain{Family: key.Family, Method: reconciler.MethodStick, NodePort: f.Kind == services.NodePort,
		Local: key.Local, Timeout: int(f.Affinity.Seconds()), ID: id}
	c.chains = append(c.chains, chain)
	return chain.Name()
}

// hashedEndpoints remembers the last slots: frontends share endpoints.
type hashedEndpoints struct {
	list  []services.Endpoint
	slots []netip.AddrPort
}

func (h *hashedEndpoints) of(list []services.Endpoint, n int) []netip.AddrPort {
	if len(h.slots) != n || !slices.Equal(h.list, list) {
		h.list, h.slots = list, services.HashSlots(list, n)
	}
	return h.slots
}

// pick numbers endpoints, and says which chain picks among them.
func (c *compiledService) pick(key FrontendKey, f services.Frontend, endpoints []services.Endpoint, before Slots) string {
	var slots []netip.AddrPort
	switch {
	case len(endpoints) == 0:
	case f.HashSlots > 0:
		slots = c.hashed.of(endpoints, f.HashSlots)
	default:
		slots = services.Slots(before.Order[key], services.Expand(endpoints))
	}
	if len(slots) == 0 {
		if f.Elsewhere || key.Local {
			return reconciler.ChainDiscard
		}
		return reconciler.ChainRefuse
	}
	c.slots.Order[key] = slots
	chain := reconciler.Chain{Family: key.Family, NodePort: f.Kind == services.NodePort, Local: key.Local, Slots: len(slots)}
	switch {
	case f.LastPort != 0:
		chain.Method = reconciler.MethodRange
	case f.HashSlots > 0:
		chain.Method = reconciler.MethodHash
	}
	if f.Affinity > 0 {
		ids := services.IDs(before.IDs[key], slots)
		c.slots.IDs[key] = ids
		chain.Method, chain.Timeout, chain.ID = reconciler.MethodSticky, int(f.Affinity.Seconds()), 1
		for _, id := range ids {
			for chain.ID <= id {
				chain.ID *= 2 // so that the chain is seldom another one
			}
		}
		c.chains = append(c.chains, chain.Recall())
	}
	c.chains = append(c.chains, chain)
	return chain.Name()
}

// PreferFirst orders what is preferred before what is not.
func PreferFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
