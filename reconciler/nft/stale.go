package nft

import (
	"net/netip"

	"github.com/poplin-net/poplin/reconciler"
)

// frontend is an address and port on which a service answers.
type frontend struct {
	family   reconciler.Family
	address  netip.Addr // zero for a node port
	protocol reconciler.Protocol
	port     uint16 // 0 for the port ranges of an address
}

// frontendOf gives the frontend that an element of the services' maps is
// about; ok is false for elements of other sets.
func frontendOf(e reconciler.Element) (f frontend, ok bool) {
	switch e.Set {
	case reconciler.SetServices, reconciler.SetSpecialServices, reconciler.SetEndpoints, reconciler.SetNodePorts, reconciler.SetNodePortEndpoints,
		reconciler.SetOutsideServices, reconciler.SetOutsideNodePorts, reconciler.SetSticky, reconciler.SetNodePortSticky:
		return frontend{e.Family, e.Address, e.Protocol, e.Port}, true
	case reconciler.SetPortRanges, reconciler.SetRangeEndpoints:
		return frontend{e.Family, e.Address, e.Protocol, 0}, true
	}
	return frontend{}, false
}

// freedID is an id of a frontend.
type freedID struct {
	frontend frontend
	id       uint32
}

// touched collects what plans did to frontends, as far as connections that
// exist already care.
type touched struct {
	// left holds endpoints that a slot stood for and may not any more.
	left map[frontend]map[netip.AddrPort]bool
	// opened holds frontends that did not lead to endpoints before: of UDP all,
	// of other protocols those of tables that were made. A table that was there
	// before has refused nearly all the others.
	opened map[frontend]bool
	// freed holds ids that do not stand for the endpoint any more to which
	// clients may still stick by them.
	freed  map[freedID]bool
	groups map[string]bool // that the endpoints belong to
}

// add notes the operations of a plan.
func (t *touched) add(plan reconciler.Plan) {
	if t.groups == nil {
		t.left, t.opened, t.groups = map[frontend]map[netip.AddrPort]bool{}, map[frontend]bool{}, map[string]bool{}
		if t.freed == nil {
			t.freed = map[freedID]bool{}
		}
	}
	made := map[reconciler.Family]bool{}
	for _, op := range plan {
		if table, ok := op.After.(reconciler.Table); ok {
			made[table.Family] = true
		}
		e, ok := op.Object().(reconciler.Element)
		if !ok {
			continue
		}
		f, ok := frontendOf(e)
		if !ok {
			continue
		}
		before, _ := op.Before.(reconciler.Element)
		after, _ := op.After.(reconciler.Element)
		if before.Target.IsValid() {
			if t.left[f] == nil {
				t.left[f] = map[netip.AddrPort]bool{}
			}
			t.left[f][before.Target] = true
			t.groups[op.Group] = true
			if e.Slot >= reconciler.FirstID && after.Target != before.Target {
				t.freed[freedID{f, e.Slot}] = true
			}
		}
		if picks(after) && !picks(before) && (f.protocol == reconciler.UDP || made[f.family]) {
			t.opened[f] = true
		}
	}
}

// picks reports whether an element leads to endpoints.
func picks(e reconciler.Element) bool {
	return e.Chain != "" && e.Chain != reconciler.ChainRefuse && e.Chain != reconciler.ChainDiscard
}

// settle takes out the endpoints that desired still has for their frontends.
// Slots move, so an endpoint that lost one may have another.
func (t *touched) settle(desired reconciler.State) {
	keep := func(o reconciler.Object) {
		e, ok := o.(reconciler.Element)
		if !ok || !e.Target.IsValid() {
			return
		}
		f, _ := frontendOf(e)
		if left := t.left[f]; left != nil {
			delete(left, e.Target)
		}
	}
	if len(t.left) > 0 {
		t.visit(desired, keep)
	}
	for f, left := range t.left {
		if len(left) == 0 {
			delete(t.left, f)
		}
	}
}

// visit calls f with the objects of the groups in question; of all, where an
// operation did not name its group.
func (t *touched) visit(desired reconciler.State, f func(reconciler.Object)) {
	if t.groups[""] {
		for _, o := range desired.Objects() {
			f(o)
		}
		return
	}
	for name := range t.groups {
		if g := desired.Group(name); g != nil {
			for _, o := range g.Objects {
				f(o)
			}
		}
	}
}

// frontends lists those that connections have to be looked at for.
func (t *touched) frontends() []frontend {
	var out []frontend
	for f := range t.left {
		out = append(out, f)
	}
	for f := range t.opened {
		if t.left[f] == nil {
			out = append(out, f)
		}
	}
	return out
}

// stale reports whether a connection goes where new ones do not go any more,
// and would stay there: UDP clients reuse a port for hours, and a TCP client
// repeats its SYN, which is translated like the first or not at all. local tells
// the addresses of this host.
func (t *touched) stale(c connection, local addressTest) bool {
	f := frontend{reconciler.FamilyOf(c.to.Addr()), c.to.Addr(), c.protocol, c.to.Port()}
	nodePort := f
	nodePort.address = netip.Addr{}
	whole := f
	whole.port = 0
	if c.protocol != reconciler.UDP && c.replied {
		return false
	}
	if c.translated {
		return t.left[f][c.endpoint] || t.left[nodePort][c.endpoint] || t.left[whole][netip.AddrPortFrom(c.endpoint.Addr(), 0)]
	}
	return t.opened[f] || t.opened[whole] || t.opened[nodePort] && local(c.to.Addr())
}
