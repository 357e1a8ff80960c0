package schema

import (
	"fmt"
	"slices"
)

// maxHints bounds the near misses that are looked for in one Parse: each
// costs a pass over names.
const maxHints = 50

// rules runs the rules across documents. Those about two things that
// conflict always run; those about something that is missing run only if
// nothing else is wrong: it may be in a document that could not be read.
func (t *tree) rules() {
	t.frontendRules()
	t.subnetRules()
	t.nodeRules()
	t.staticAddressRules()
	t.endpointsRules()
	if t.diagnostics.Errors() > 0 {
		return
	}
	t.rosterRules()
	t.subnetChoiceRules()
	if t.diagnostics.Errors() > 0 {
		return
	}
	t.capacityRules()
	t.lengthRule()
	t.hostPortRules()
	t.selectorRules()
	t.sliceRules()
}

func (t *tree) refuse(u *unit, at pointer, format string, args ...any) {
	t.report(Error, u, finding{at: at, message: fmt.Sprintf(format, args...)})
}

func (t *tree) warn(u *unit, at pointer, format string, args ...any) {
	t.report(Warning, u, finding{at: at, message: fmt.Sprintf(format, args...)})
}

// sortUnits sorts by namespace and name. Units that were in the previous
// list are in order already, so the cost follows the change.
func sortUnits(previous, current []*unit) []*unit {
	for _, u := range current {
		u.listed = true
	}
	out := make([]*unit, 0, len(current))
	take := func(list []*unit) {
		for _, u := range list {
			if u.listed {
				u.listed = false
				out = append(out, u)
			}
		}
	}
	take(previous)
	kept := len(out)
	take(current)
	byName := func(a, b *unit) int { return a.meta.Name.Compare(b.meta.Name) }
	slices.SortFunc(out[kept:], byName)
	if kept == 0 || kept == len(out) {
		return out
	}
	return merge(out[:kept], out[kept:], byName)
}

// merge joins two sorted lists.
func merge[T any](a, b []T, compare func(T, T) int) []T {
	out := make([]T, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if compare(b[0], a[0]) < 0 {
			out, b = append(out, b[0]), b[1:]
		} else {
			out, a = append(out, a[0]), a[1:]
		}
	}
	return append(append(out, a...), b...)
}
