package reconciler

import "slices"

// share is what a target has of desired states: the objects of its kinds. It
// remembers the last state's, so that groups which are in the next one again
// are not looked into.
type share struct {
	kinds []Kind
	whole State
	parts []*Group // of each group of whole, in that order; nil: the target has nothing of it
}

func newShare(kinds []Kind) *share { return &share{kinds: kinds} }

// holds reports whether an object is the target's.
func (h *share) holds(o Object) bool { return slices.Contains(h.kinds, o.Kind()) }

// of returns the target's part of a state. A group that is the target's as a
// whole is the same pointer, and a part of a group that stays is, too.
func (h *share) of(s State) State {
	parts := make([]*Group, len(s.groups))
	out := make([]*Group, 0, len(s.groups))
	old := 0
	for i, g := range s.groups {
		for old < len(h.whole.groups) && h.whole.groups[old] != g && h.whole.groups[old].Name < g.Name {
			old++
		}
		if old < len(h.whole.groups) && h.whole.groups[old] == g {
			parts[i] = h.parts[old]
			old++
		} else {
			parts[i] = g.only(h.holds)
		}
		if parts[i] != nil {
			out = append(out, parts[i])
		}
	}
	h.whole, h.parts = s, parts
	return State{groups: out}
}
