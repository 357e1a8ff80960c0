package reconciler

import (
	"cmp"
	"slices"
)

// ranker orders objects of one kind that need each other.
type ranker interface{ Rank() int }

// Diff returns the plan that turns observed into desired. It is pure, and
// its order is a function of the two states alone.
//
// Groups that are the same pointer in both are not looked into, so the cost
// follows what changed where a target remembers its groups. Causes, and the
// origin of deletions, are for Attribute to fill in.
func Diff(observed, desired State) Plan {
	have, want := unshared(observed, desired), unshared(desired, observed)
	if len(have) == 0 && len(want) == 0 {
		return nil
	}
	before := index(have)
	var additions []Plan
	for _, g := range want {
		for _, o := range g.Objects {
			key := o.Key()
			b, ok := before[key]
			if ok {
				delete(before, key)
			}
			if step := difference(g, b, o); step != nil {
				additions = append(additions, step)
			}
		}
	}
	deletions := make(Plan, 0, len(before))
	for _, o := range before {
		deletions = append(deletions, Op{Verb: Delete, Before: o})
	}
	slices.SortStableFunc(additions, func(a, b Plan) int {
		return compareDependency(a[len(a)-1].After, b[len(b)-1].After)
	})
	sortDeletions(deletions)
	return append(slices.Concat(additions...), deletions...)
}

// difference returns the operations, one or two, that turn before (nil:
// nothing) into after.
func difference(g *Group, before, after Object) Plan {
	op := Op{Verb: Add, After: after, Group: g.Name, Origin: g.Origin}
	switch {
	case before == nil:
		return Plan{op}
	case before == after:
		return nil
	}
	if r, ok := after.(Replacer); ok && r.Replaces(before) {
		return Plan{{Verb: Delete, Before: before, Group: g.Name, Origin: g.Origin}, op}
	}
	op.Verb, op.Before = Change, before
	return Plan{op}
}

// unshared returns the groups of s that are not the same pointer in other.
// Pointers are compared before names: to touch ten thousand groups costs more
// than to commit a change.
func unshared(s, other State) []*Group {
	var out []*Group
	i := 0
	for _, g := range s.groups {
		if i < len(other.groups) && other.groups[i] == g {
			i++
			continue
		}
		for i < len(other.groups) && other.groups[i] != g && other.groups[i].Name < g.Name {
			i++
		}
		if i < len(other.groups) && other.groups[i] == g {
			i++
			continue
		}
		out = append(out, g)
	}
	return out
}

func index(groups []*Group) map[Key]Object {
	n := 0
	for _, g := range groups {
		n += len(g.Objects)
	}
	m := make(map[Key]Object, n)
	for _, g := range groups {
		for _, o := range g.Objects {
			m[o.Key()] = o
		}
	}
	return m
}

func compareDependency(a, b Object) int {
	return cmp.Or(cmp.Compare(a.Kind(), b.Kind()), cmp.Compare(rank(a), rank(b)))
}

func rank(o Object) int {
	if r, ok := o.(ranker); ok {
		return r.Rank()
	}
	return 0
}

// sortDeletions puts dependants first, and the rest in the order of the text.
func sortDeletions(plan Plan) {
	type line struct {
		op   Op
		text string
	}
	lines := make([]line, len(plan))
	for i, op := range plan {
		lines[i] = line{op, op.Before.String()}
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(compareDependency(b.op.Before, a.op.Before), cmp.Compare(a.text, b.text))
	})
	for i, l := range lines {
		plan[i] = l.op
	}
}
