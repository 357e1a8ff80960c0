package nft

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/poplin-net/poplin/reconciler"
)

// transaction is what one commit does, in this order: tables, chains, then
// for every set the elements to delete and the elements to add. A change of
// an element's value is both. Chains are made and deleted by transactions of
// their own, before and after the elements that point to them: see split for
// the one, and before Linux 6.2 one cannot delete both at once.
type transaction struct {
	drop   []reconciler.Family // tables to delete
	create []reconciler.Family // tables to make
	chains []reconciler.Chain  // chains to make, or to make anew in place
	remove []reconciler.Chain  // chains to delete
	sets   map[tableSet]*elements
	size   int // operations
}

// elements is what happens to one set.
type elements struct{ remove, add []reconciler.Element }

func (x *transaction) of(s tableSet) *elements {
	if x.sets == nil {
		x.sets = map[tableSet]*elements{}
	}
	if x.sets[s] == nil {
		x.sets[s] = &elements{}
	}
	return x.sets[s]
}

// element adds the operation that turns before into after; either may be nil.
func (x *transaction) element(before, after reconciler.Object) {
	x.size++
	if e, ok := before.(reconciler.Element); ok {
		s := x.of(setOf(e))
		s.remove = append(s.remove, e)
	}
	if e, ok := after.(reconciler.Element); ok {
		s := x.of(setOf(e))
		s.add = append(s.add, e)
	}
}

// send queues the transaction's messages.
func (x *transaction) send(c *nftables.Conn) error {
	for _, f := range x.drop {
		c.DelTable(table(f))
	}
	for _, f := range x.create {
		if err := sendSkeleton(c, f); err != nil {
			return err
		}
	}
	// A chain is made after those that it jumps to, and deleted before them.
	slices.SortStableFunc(x.chains, func(a, b reconciler.Chain) int { return cmp.Compare(jumps(a), jumps(b)) })
	slices.SortStableFunc(x.remove, func(a, b reconciler.Chain) int { return cmp.Compare(jumps(b), jumps(a)) })
	for _, chain := range x.chains {
		sendPickChain(c, chain)
	}
	for _, f := range families() {
		for _, l := range layouts() {
			if s := x.sets[tableSet{f, l.name}]; s != nil {
				if err := s.send(c, f, l); err != nil {
					return fmt.Errorf("set %s: %w", l.name, err)
				}
			}
		}
	}
	for _, chain := range x.remove {
		c.DelChain(&nftables.Chain{Table: table(chain.Family), Name: chain.Name()})
	}
	return nil
}

func table(f reconciler.Family) *nftables.Table {
	return &nftables.Table{Name: tableName, Family: family(f)}
}

// sendSkeleton makes a table, and fails if there is one.
func sendSkeleton(c *nftables.Conn, f reconciler.Family) error {
	t := c.CreateTable(table(f))
	for _, l := range layouts() {
		s, err := l.set(t, f)
		if err == nil {
			err = c.AddSet(s, nil)
		}
		if err != nil {
			return err
		}
	}
	for _, chain := range skeleton(f) {
		k := &nftables.Chain{Table: t, Name: chain.name}
		if chain.hook != nil {
			k.Type, k.Hooknum, k.Priority = chain.hook.kind, chain.hook.number, chain.hook.priority
		}
		c.AddChain(k)
		for _, r := range chain.rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: k, Exprs: r})
		}
	}
	return nil
}

// sendPickChain makes a pick chain. One that is there gets its rules anew.
func sendPickChain(c *nftables.Conn, chain reconciler.Chain) {
	t := table(chain.Family)
	k := c.AddChain(&nftables.Chain{Table: t, Name: chain.Name()})
	c.FlushChain(k)
	for _, r := range chainRules(chain) {
		c.AddRule(&nftables.Rule{Table: t, Chain: k, Exprs: r})
	}
}

func (s *elements) send(c *nftables.Conn, f reconciler.Family, l layout) error {
	set := &nftables.Set{Table: table(f), Name: string(l.name), IsMap: len(l.value) > 0, Interval: l.interval() || l.ranged()}
	if err := c.SetDeleteElements(set, l.elements(s.remove, false)); err != nil {
		return err
	}
	return c.SetAddElements(set, l.elements(s.add, true))
}

// elements encodes elements of the set; values are left out for deletions.
func (l layout) elements(list []reconciler.Element, values bool) []nftables.SetElement {
	if len(list) == 0 {
		return nil
	}
	out := make([]nftables.SetElement, 0, len(list))
	for _, e := range list {
		if l.interval() {
			out = append(out, bounds(e.Prefix)...)
			continue
		}
		raw := nftables.SetElement{Key: encode(l.key, e)}
		if l.ranged() {
			raw.KeyEnd = encodeEnd(l.key, e)
		}
		switch {
		case !values || len(l.value) == 0:
		case l.verdict():
			raw.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Chain}
		default:
			raw.Val = encode(l.value, e)
		}
		out = append(out, raw)
	}
	return out
}
