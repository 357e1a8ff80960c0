package reconciler

import "slices"

// Share is the objects of some kinds in one state after another: what a
// target has of desired states. It remembers the last state's, so that groups
// which are in the next one again are not looked into. It is used by one
// goroutine at a time.
type Share struct {
	kinds []Kind
	whole State
	parts []*Group // of each group of whole, in that order; nil: there is nothing of it
}

// NewShare makes the share of some kinds.
func NewShare(kinds ...Kind) *Share { return &Share{kinds: kinds} }

// holds reports whether an object is of the kinds.
func (h *Share) holds(o Object) bool { return slices.Contains(h.kinds, o.Kind()) }

// Of returns the share in a state. A group that is part of it as a whole is
// the same pointer, and a part of a group that stays is, too.
func (h *Share) Of(s State) State {
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
