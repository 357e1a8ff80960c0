package nft

import (
	"slices"

	"github.com/poplin-net/poplin/reconciler"
)

// transactionSize is the number of operations beyond which a plan is cut up:
// about 1,000 services. nf_tables holds one lock per commit.
const transactionSize = 16384

// split makes the transactions that carry out a plan: a single one, unless
// the plan is large, or makes or deletes what frontends lead to. Each that has
// elements of groups is complete for these groups. seen is what the tables hold
// before.
//
// Chains come before the elements that lead to them. A packet that is on its
// way through a table as a commit happens goes by the rules from before, but
// finds the elements from after (nft_do_chain, Linux 6.18): a chain made by
// that very commit has no rules for it, and the packet would leave it, and the
// table, untranslated.
//
// A packet that looks for its frontend in one map and then in another may do
// so before and after a commit. So what leads from numbers to chains comes with
// the first groups, and goes after the last; and a frontend that was special is
// so until it is in the map services.
//
// Ranges and addresses where all that is no frontend is refused come after the
// frontends: a client whose SYN passes sends it again (see touched), one that is
// refused gives up. Ranges of ports come with them: the load balancer address
// says which of their connections are masqueraded.
//
// Of two ranges of ports, or of two prefixes of a frontend's clients, that overlap
// the kernel takes one. So those that go do as others come, even if nobody knows
// their group any more.
//
// A table that is replaced is made anew with all that desired has for it, in
// the first transaction, so that no packet ever meets it half made.
func split(plan reconciler.Plan, seen, desired reconciler.State) []*transaction {
	s := &splitter{whole: map[reconciler.Family]bool{}, groups: map[string][]reconciler.Op{}, sources: sources(plan)}
	s.tables(plan, &s.elements, desired)
	for _, op := range plan {
		if !s.whole[familyOf(op.Object())] {
			s.place(op)
		}
	}
	intervals(&s.elements, s.ranges, seen)
	all := []*transaction{&s.chains, &s.elements}
	room := func(n int) *transaction {
		if x := all[len(all)-1]; x.size == 0 || x.size+n <= transactionSize {
			return x
		}
		all = append(all, &transaction{})
		return all[len(all)-1]
	}
	for _, name := range s.order {
		x := room(len(s.groups[name]))
		for _, op := range s.groups[name] {
			x.element(op.Before, op.After)
		}
	}
	x := room(len(s.late) + len(s.refusing))
	intervals(x, s.refusing, seen)
	for _, op := range s.late {
		x.element(op.Before, op.After)
	}
	return slices.DeleteFunc(append(all, &s.unused, &s.last), (*transaction).empty)
}

// splitter places the operations of a plan.
type splitter struct {
	whole    map[reconciler.Family]bool // dealt with by elements
	chains   transaction                // to make
	elements transaction                // the first with elements; makes tables
	unused   transaction                // deletes what nothing leads to any more
	last     transaction                // deletes chains
	ranges   reconciler.Plan            // elements of interval sets
	refusing reconciler.Plan            // those of them that come last
	late     reconciler.Plan            // other elements that do
	groups   map[string][]reconciler.Op // all other elements
	order    []string                   // of groups
	sources  map[frontend]string        // groups with prefixes of clients to add
}

// sources finds the groups that add prefixes of clients.
func sources(plan reconciler.Plan) map[frontend]string {
	out := map[frontend]string{}
	for _, op := range plan {
		if e, ok := op.After.(reconciler.Element); ok && isSource(e) {
			out[sourceOf(e)] = op.Group
		}
	}
	return out
}

// isSource reports whether an element is a prefix of clients of a frontend.
func isSource(e reconciler.Element) bool { return e.Prefix.IsValid() && e.Protocol != 0 }

func sourceOf(e reconciler.Element) frontend {
	return frontend{e.Family, e.Address, e.Protocol, e.Port}
}

// place puts an operation where it belongs.
func (s *splitter) place(op reconciler.Op) {
	switch o := op.Object().(type) {
	case reconciler.Chain:
		switch {
		case op.Verb == reconciler.Delete:
			s.last.remove = append(s.last.remove, o)
		case slices.Contains(s.elements.create, o.Family):
			s.elements.chains = append(s.elements.chains, o)
		default:
			s.chains.chains = append(s.chains.chains, o)
		}
	case reconciler.Element:
		switch {
		case o.Set == reconciler.SetServiceRanges:
			s.refusing = append(s.refusing, op)
		case o.Set == reconciler.SetLoadBalancerAddresses && op.Verb == reconciler.Add, o.Set == reconciler.SetPortRanges && op.Verb != reconciler.Change:
			s.late = append(s.late, op)
		case isRange(o):
			s.ranges = append(s.ranges, op)
		case op.Verb == reconciler.Delete && (o.Set == reconciler.SetPicks || o.Set == reconciler.SetSpecialServices):
			s.unused.element(op.Before, nil)
		case o.Set == reconciler.SetPicks:
			s.elements.element(op.Before, op.After)
		default:
			group := op.Group
			if added, ok := s.sources[sourceOf(o)]; ok && isSource(o) {
				group = added
			}
			if s.groups[group] == nil {
				s.order = append(s.order, group)
			}
			s.groups[group] = append(s.groups[group], op)
		}
	}
}

func (x *transaction) empty() bool {
	return len(x.drop)+len(x.create)+len(x.chains)+len(x.remove)+len(x.sets) == 0
}

// tables puts the plan's operations on tables into a transaction.
func (s *splitter) tables(plan reconciler.Plan, x *transaction, desired reconciler.State) {
	drop, create := map[reconciler.Family]bool{}, map[reconciler.Family]bool{}
	for _, op := range plan {
		if t, ok := op.Before.(reconciler.Table); ok {
			drop[t.Family] = true
		}
		if t, ok := op.After.(reconciler.Table); ok {
			create[t.Family] = true
		}
	}
	for _, f := range families() {
		if create[f] {
			x.create = append(x.create, f)
		}
		if drop[f] {
			x.drop = append(x.drop, f)
			s.whole[f] = true
		}
		if create[f] && drop[f] {
			fill(x, ofFamily(desired, f))
		}
	}
}

// fill puts all objects of a new table into a transaction.
func fill(x *transaction, objects []reconciler.Object) {
	ranges := map[tableSet][]reconciler.Element{}
	for _, o := range objects {
		switch o := o.(type) {
		case reconciler.Chain:
			x.chains = append(x.chains, o)
		case reconciler.Element:
			if isRange(o) {
				ranges[setOf(o)] = append(ranges[setOf(o)], o)
			} else {
				x.element(nil, o)
			}
		}
	}
	for _, list := range ranges {
		for _, e := range outermost(list) {
			x.element(nil, e)
		}
	}
}

// intervals puts the operations on interval sets into a transaction: what
// the kernel holds are the outermost prefixes, so that one that appears can
// hide others, and one that goes can uncover them.
func intervals(x *transaction, plan reconciler.Plan, seen reconciler.State) {
	if len(plan) == 0 {
		return
	}
	touched := map[tableSet]bool{}
	for _, op := range plan {
		touched[setOf(op.Object().(reconciler.Element))] = true
	}
	before := map[tableSet][]reconciler.Element{}
	for _, o := range seen.Objects() {
		if e, ok := o.(reconciler.Element); ok && isRange(e) && touched[setOf(e)] {
			before[setOf(e)] = append(before[setOf(e)], e)
		}
	}
	for s := range touched {
		after := slices.Clone(before[s])
		for _, op := range plan {
			e := op.Object().(reconciler.Element)
			if setOf(e) != s {
				continue
			}
			after = slices.DeleteFunc(after, func(a reconciler.Element) bool { return a == e })
			if op.Verb != reconciler.Delete {
				after = append(after, e)
			}
		}
		was, is := outermost(before[s]), outermost(after)
		for _, e := range was {
			if !slices.Contains(is, e) {
				x.element(e, nil)
			}
		}
		for _, e := range is {
			if !slices.Contains(was, e) {
				x.element(nil, e)
			}
		}
	}
}
