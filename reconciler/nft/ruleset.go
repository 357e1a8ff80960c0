package nft

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"github.com/poplin-net/poplin/reconciler"
)

// Ruleset is one family's table as a value: its rules, and its elements by
// key. Trace follows packets through it.
type Ruleset struct {
	family reconciler.Family
	hooks  []chain // the base chains, in the order in which a hook runs them
	chains map[string][]rule
	sets   map[reconciler.SetName]*setIndex
	// Missing says why there is no table to speak of; then no rule matches
	// anything. "" where there is one.
	Missing string
}

// NewRuleset makes the ruleset of a family from a state, observed or desired.
// An observed table was compared with the skeleton rule by rule, so that the
// rules are the live ones; of a damaged one nothing is known.
func NewRuleset(s reconciler.State, f reconciler.Family) *Ruleset {
	r := &Ruleset{family: f, chains: map[string][]rule{}, sets: map[reconciler.SetName]*setIndex{},
		Missing: fmt.Sprintf("there is no table %s %s", f, tableName)}
	for _, l := range layouts() {
		r.sets[l.name] = &setIndex{layout: l, exact: map[string]Found{}}
	}
	for g, o := range s.Objects() {
		if familyOf(o) != f {
			continue
		}
		switch o := o.(type) {
		case reconciler.Table:
			r.addTable(o)
		case reconciler.Chain:
			r.chains[o.Name()] = chainRules(o)
		case reconciler.Element:
			if set, ok := r.sets[o.Set]; ok {
				set.add(Found{o, g})
			}
		}
	}
	slices.SortStableFunc(r.hooks, func(a, b chain) int { return cmp.Compare(*a.hook.priority, *b.hook.priority) })
	return r
}

func (r *Ruleset) addTable(t reconciler.Table) {
	if t != markedTable(r.family) {
		r.Missing = fmt.Sprintf("%s, not skeleton %d", t, reconciler.SkeletonVersion)
		return
	}
	r.Missing = ""
	for _, c := range skeleton(r.family) {
		r.chains[c.name] = c.rules
		if c.hook != nil {
			r.hooks = append(r.hooks, c)
		}
	}
}

// Clients says which endpoints a client sticks to: keys of elements that
// packets have made, as they are in the kernel.
type Clients map[reconciler.SetName][][]byte

// ClientsOf reads which endpoints a client sticks to. It waits for nobody.
func (t *Target) ClientsOf(ctx context.Context, client netip.Addr) (Clients, error) {
	out := Clients{}
	f := reconciler.FamilyOf(client)
	for _, l := range layouts() {
		if !l.dynamic {
			continue
		}
		set := setIndex{layout: l}
		before := fieldSlot.width(f) // what comes behind the client
		for key, err := range t.clientKeys(tableSet{f, l.name}) {
			if err := errors.Join(err, ctx.Err()); err != nil {
				return nil, fmt.Errorf("set %s of table %s %s: %w", l.name, f, tableName, err)
			}
			if n := len(key) - before; len(key) == set.width(f) && bytes.HasSuffix(key[:n], client.AsSlice()) {
				out[l.name] = append(out[l.name], key)
			}
		}
	}
	return out, nil
}

// Add lets a client stick to endpoints. Without it every client is new.
func (r *Ruleset) Add(c Clients) {
	for name, keys := range c {
		for _, key := range keys {
			f := Found{Element: reconciler.Element{Family: r.family, Set: name}, Group: clientGroup}
			if decode(r.sets[name].layout.key, key, &f.Element) == nil {
				r.sets[name].exact[string(key)] = f
			}
		}
	}
}

// clientGroup stands for what no document asks for.
var clientGroup = &reconciler.Group{Name: "client"}

// base gives the chains of a hook in their order.
func (r *Ruleset) base(number nftables.ChainHook) []chain {
	var out []chain
	for _, c := range r.hooks {
		if *c.hook.number == number {
			out = append(out, c)
		}
	}
	return out
}

// setIndex finds the elements of a set.
type setIndex struct {
	layout layout
	exact  map[string]Found
	ranges []Found // of sets that have ranges
}

func (s *setIndex) add(f Found) {
	if s.layout.interval() || s.layout.ranged() {
		s.ranges = append(s.ranges, f)
		return
	}
	s.exact[string(encode(s.layout.key, f.Element))] = f
}

// width is the number of bytes of the set's keys in registers.
func (s *setIndex) width(f reconciler.Family) int {
	n := 0
	for _, p := range s.layout.key {
		n += p.width(f)
	}
	return n
}

// find gives the element for the bytes of a key.
func (s *setIndex) find(key []byte) (Found, bool) {
	if f, ok := s.exact[string(key)]; ok {
		return f, true
	}
	for _, f := range s.ranges {
		if s.covers(f.Element, key) {
			return f, true
		}
	}
	return Found{}, false
}

// covers reports whether an element that ends with a range holds a key. All
// other parts of its two keys are the same.
func (s *setIndex) covers(e reconciler.Element, key []byte) bool {
	if s.layout.interval() {
		a, ok := netip.AddrFromSlice(key)
		return ok && e.Prefix.Contains(a)
	}
	last := len(key) - s.layout.key[len(s.layout.key)-1].width(e.Family)
	first, end := encode(s.layout.key, e), encodeEnd(s.layout.key, e)
	return bytes.Equal(first[:last], key[:last]) &&
		bytes.Compare(first[last:], key[last:]) <= 0 && bytes.Compare(key[last:], end[last:]) <= 0
}
