package reconciler

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
)

// Origin is the place in the documents that asks for something.
type Origin struct {
	File     string // path below the root of the tree; "" for what no document asks for
	Line     int    // 1 is the first
	Revision string
}

// String formats the place as file:line.
func (o Origin) String() string {
	if o.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Group is what one service, pod, peer or the host itself asks for. A group
// is never changed after it was made; a group whose inputs did not change is
// the same pointer as last round.
type Group struct {
	Name    string // "service default/web", "pod default/web-1", "peer node-2", "host"
	Origin  Origin
	Objects []Object
}

// State is a set of groups with distinct names. The zero value is empty.
type State struct {
	groups []*Group // sorted by name
}

// NewState makes a state of groups. Groups without objects are left out. Two
// groups of one name, or two objects of one key, are a programming error
// that Check reports.
func NewState(groups ...*Group) State {
	kept := make([]*Group, 0, len(groups))
	for _, g := range groups {
		if g != nil && len(g.Objects) > 0 {
			kept = append(kept, g)
		}
	}
	slices.SortFunc(kept, func(a, b *Group) int { return cmp.Compare(a.Name, b.Name) })
	return State{kept}
}

// Groups yields the groups in the order of their names.
func (s State) Groups() iter.Seq[*Group] { return slices.Values(s.groups) }

// Group returns the group of that name, or nil.
func (s State) Group(name string) *Group {
	i, found := slices.BinarySearchFunc(s.groups, name, func(g *Group, name string) int { return cmp.Compare(g.Name, name) })
	if !found {
		return nil
	}
	return s.groups[i]
}

// Objects yields every object with its group, group by group.
func (s State) Objects() iter.Seq2[*Group, Object] {
	return func(yield func(*Group, Object) bool) {
		for _, g := range s.groups {
			for _, o := range g.Objects {
				if !yield(g, o) {
					return
				}
			}
		}
	}
}

// Len counts the objects.
func (s State) Len() int {
	n := 0
	for _, g := range s.groups {
		n += len(g.Objects)
	}
	return n
}

// Only returns the part of the state that keep accepts. A group that is kept
// whole stays the same pointer.
func (s State) Only(keep func(Object) bool) State {
	out := make([]*Group, 0, len(s.groups))
	for _, g := range s.groups {
		if !slices.ContainsFunc(g.Objects, func(o Object) bool { return !keep(o) }) {
			out = append(out, g)
			continue
		}
		part := &Group{Name: g.Name, Origin: g.Origin}
		for _, o := range g.Objects {
			if keep(o) {
				part.Objects = append(part.Objects, o)
			}
		}
		if len(part.Objects) > 0 {
			out = append(out, part)
		}
	}
	return State{out}
}

// Check returns an error that names the first two groups of one name, or the
// first two objects of one key.
func (s State) Check() error {
	for i := 1; i < len(s.groups); i++ {
		if s.groups[i].Name == s.groups[i-1].Name {
			return fmt.Errorf("two groups are named %q", s.groups[i].Name)
		}
	}
	seen := make(map[Key]*Group, s.Len())
	for g, o := range s.Objects() {
		if other, ok := seen[o.Key()]; ok {
			return fmt.Errorf("%s and %s both ask for %s", other.Name, g.Name, o)
		}
		seen[o.Key()] = g
	}
	return nil
}
