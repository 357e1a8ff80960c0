package nft

import (
	"slices"

	"github.com/poplin-net/poplin/reconciler"
)

// transactionSize is the number of operations beyond which a plan is cut up:
// about 1,000 services. nf_tables holds one lock per commit.
const transactionSize = 16384

// split makes the transactions that carry out a plan: a single one, unless
// the plan is large, or makes or deletes chains. Each is complete for the
// groups it holds. seen is what the tables hold before.
//
// Chains come before the elements that lead to them. A packet that is on its
// way through a table as a commit happens goes by the rules from before, but
// finds the elements from after (nft_do_chain, Linux 6.18): a chain made by
// that very commit has no rules for it, and the packet would leave it, and the
// table, untranslated.
//
// A table that is replaced is made anew with all that desired has for it, in
// the first transaction, so that no packet ever meets it half made.
func split(plan reconciler.Plan, seen, desired reconciler.State) []*transaction {
	s := &splitter{whole: map[reconciler.Family]bool{}}
	first, chains, last := &transaction{}, &transaction{}, &transaction{}
	s.tables(plan, first, desired)
	if len(first.create) > 0 {
		chains = first
	}
	byGroup := map[string][]reconciler.Op{}
	var order []string
	var ranges reconciler.Plan
	for _, op := range plan {
		o := op.Object()
		if s.whole[familyOf(o)] {
			continue
		}
		switch o := o.(type) {
		case reconciler.Chain:
			if op.Verb == reconciler.Delete {
				last.remove = append(last.remove, o)
			} else {
				chains.chains = append(chains.chains, o)
				chains.size++
			}
		case reconciler.Element:
			if isRange(o) {
				ranges = append(ranges, op)
				continue
			}
			if byGroup[op.Group] == nil {
				order = append(order, op.Group)
			}
			byGroup[op.Group] = append(byGroup[op.Group], op)
		}
	}
	intervals(first, ranges, seen)
	all := []*transaction{first}
	for _, name := range order {
		x := all[len(all)-1]
		if x.size > 0 && x.size+len(byGroup[name]) > transactionSize {
			x = &transaction{}
			all = append(all, x)
		}
		for _, op := range byGroup[name] {
			x.element(op.Before, op.After)
		}
	}
	if chains != first {
		all = slices.Insert(all, 0, chains)
	}
	return slices.DeleteFunc(append(all, last), (*transaction).empty)
}

func (x *transaction) empty() bool {
	return len(x.drop)+len(x.create)+len(x.chains)+len(x.remove)+len(x.sets) == 0
}

// splitter remembers the families that the first transaction deals with
// whole.
type splitter struct{ whole map[reconciler.Family]bool }

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
