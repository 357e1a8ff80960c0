package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// FrontendKey identifies a frontend in one table: an address, or a node port
// where Address is the zero value.
type FrontendKey struct {
	Family   reconciler.Family
	Address  netip.Addr
	Protocol reconciler.Protocol
	Port     uint16
}

// Slots are the endpoints of frontends in the order of their slots.
type Slots map[FrontendKey][]netip.AddrPort

// SlotsOf reads the slots out of a state.
func SlotsOf(s reconciler.State) Slots {
	out := Slots{}
	for _, o := range s.Objects() {
		e, ok := o.(reconciler.Element)
		if !ok || e.Set != reconciler.SetEndpoints && e.Set != reconciler.SetNodePortEndpoints {
			continue
		}
		key := FrontendKey{e.Family, e.Address, e.Protocol, e.Port}
		list := out[key]
		for int(e.Slot) >= len(list) && e.Slot < maxSlots {
			list = append(list, netip.AddrPort{})
		}
		if e.Slot < maxSlots {
			list[e.Slot] = e.Target
		}
		out[key] = list
	}
	return out
}

// maxSlots bounds what is believed of slots that somebody else wrote.
const maxSlots = 1 << 16

// compiledService is what became of a service, kept while its inputs are the
// same.
type compiledService struct {
	document  *schema.Service
	frontends []services.Frontend
	group     *reconciler.Group
	slots     Slots
	// counts are the numbers of slots that its frontends need chains for.
	counts []chainNeed
}

type chainNeed struct {
	family   reconciler.Family
	nodePort bool
	slots    int
}

// compileServices makes one group per service that has frontends.
func (c *Compiler) compileServices(b *builder, resolved []services.Service) []compiledService {
	if len(b.subnets) == 0 {
		return nil
	}
	var inKernel Slots
	if len(c.services) == 0 {
		inKernel = SlotsOf(b.Observed)
	}
	out := make([]compiledService, 0, len(resolved))
	now := make(map[schema.Name]compiledService, len(resolved))
	for _, s := range resolved {
		name := s.Document.Meta.Name
		old, known := c.services[name]
		if !known || !sameService(old, s) {
			slots := old.slots
			if !known {
				slots = inKernel
			}
			old = b.service(s, slots)
		}
		now[name] = old
		out = append(out, old)
	}
	c.services = now
	return out
}

func sameService(c compiledService, s services.Service) bool {
	return c.document == s.Document && slices.EqualFunc(c.frontends, s.Frontends, func(a, b services.Frontend) bool {
		return a.Kind == b.Kind && a.Family == b.Family && a.Address == b.Address && a.Protocol == b.Protocol &&
			a.Port == b.Port && slices.Equal(a.Endpoints, b.Endpoints)
	})
}

// service makes the elements of one service. before gives the slots that its
// endpoints have had.
func (b *builder) service(s services.Service, before Slots) compiledService {
	out := compiledService{document: s.Document, frontends: s.Frontends, slots: Slots{}}
	g := &reconciler.Group{Name: "service " + s.Document.Meta.Name.String(), Origin: b.origin(s.Document.Place)}
	seen := map[netip.Addr]bool{}
	for _, f := range s.Frontends {
		family := reconciler.Family(reconciler.IPv4)
		if f.Family == schema.IPv6 {
			family = reconciler.IPv6
		}
		if !b.has(family) {
			continue
		}
		key := FrontendKey{family, f.Address, reconciler.Protocol(f.Protocol), f.Port}
		slots := services.Slots(before[key], f.Endpoints)
		out.slots[key] = slots
		g.Objects = append(g.Objects, frontend(key, slots)...)
		out.counts = append(out.counts, chainNeed{family, f.Kind == services.NodePort, len(slots)})
		if f.Kind == services.ClusterIP && !seen[f.Address] {
			seen[f.Address] = true
			g.Objects = append(g.Objects, reconciler.Element{Family: family, Set: reconciler.SetClusterAddresses, Address: f.Address})
		}
	}
	out.group = g
	return out
}

// frontend gives the elements of one frontend: where it goes, and a slot for
// each endpoint.
func frontend(key FrontendKey, slots []netip.AddrPort) []reconciler.Object {
	entry, endpoint := reconciler.SetServices, reconciler.SetEndpoints
	nodePort := !key.Address.IsValid()
	if nodePort {
		entry, endpoint = reconciler.SetNodePorts, reconciler.SetNodePortEndpoints
	}
	base := reconciler.Element{Family: key.Family, Address: key.Address, Protocol: key.Protocol, Port: key.Port}
	element := func(set reconciler.SetName) reconciler.Element {
		e := base
		e.Set = set
		return e
	}
	first := element(entry)
	first.Chain = reconciler.ChainRefuse
	if len(slots) > 0 {
		first.Chain = reconciler.Chain{Family: key.Family, NodePort: nodePort, Slots: len(slots)}.Name()
	}
	out := []reconciler.Object{first}
	if nodePort {
		out = append(out, element(reconciler.SetMasqueradeNodePorts))
	}
	for i, target := range slots {
		e := element(endpoint)
		e.Slot, e.Target = uint32(i), target
		out = append(out, e)
	}
	return out
}

// chains asks for one pick chain per number of slots that is in use.
func (b *builder) chains(compiled []compiledService) []*reconciler.Group {
	used := map[chainNeed]bool{}
	for _, s := range compiled {
		for _, n := range s.counts {
			if n.slots > 0 {
				used[n] = true
			}
		}
	}
	var needs []chainNeed
	for n := range used {
		needs = append(needs, n)
	}
	slices.SortFunc(needs, func(a, b chainNeed) int {
		return cmp.Or(cmp.Compare(a.family, b.family), PreferFirst(b.nodePort, a.nodePort), cmp.Compare(a.slots, b.slots))
	})
	g := &reconciler.Group{Name: "nftables chains", Origin: b.origin(b.cluster.Place)}
	for _, n := range needs {
		g.Objects = append(g.Objects, reconciler.Chain{Family: n.family, NodePort: n.nodePort, Slots: n.slots})
	}
	return []*reconciler.Group{g}
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
