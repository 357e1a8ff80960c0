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
	// objects is how many there are in the groups; 0 means that nobody counted.
	objects int
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
	slices.SortFunc(kept, compareNames)
	return State{groups: kept}.counted()
}

func compareNames(a, b *Group) int { return cmp.Compare(a.Name, b.Name) }

func (s State) counted() State {
	s.objects = s.Len()
	return s
}

// Replace returns the state without the groups in gone and with those in
// added. What is gone and was not there is left alone, and so are groups
// without objects. Nothing but the two lists is looked into, so that in a
// large state the cost follows the change.
func (s State) Replace(gone, added []*Group) State {
	if len(gone)+len(added) == 0 {
		return s
	}
	type edit struct {
		at  int
		put *Group // nil: the group at this place goes
	}
	var edits []edit
	objects := s.Len()
	for _, g := range added {
		if g != nil && len(g.Objects) > 0 {
			edits = append(edits, edit{s.find(g.Name), g})
			objects += len(g.Objects)
		}
	}
	for _, g := range gone {
		if g == nil {
			continue
		}
		at := s.find(g.Name)
		for at < len(s.groups) && s.groups[at] != g && s.groups[at].Name == g.Name {
			at++
		}
		if at < len(s.groups) && s.groups[at] == g {
			edits = append(edits, edit{at, nil})
			objects -= len(g.Objects)
		}
	}
	slices.SortStableFunc(edits, func(a, b edit) int {
		if a.at != b.at || a.put == nil || b.put == nil {
			return cmp.Or(cmp.Compare(a.at, b.at), compareBool(a.put == nil, b.put == nil))
		}
		return compareNames(a.put, b.put)
	})
	out := make([]*Group, 0, len(s.groups)+len(added))
	next := 0
	for _, e := range edits {
		out = append(out, s.groups[next:e.at]...)
		next = e.at
		if e.put != nil {
			out = append(out, e.put)
		} else {
			next++
		}
	}
	return State{append(out, s.groups[next:]...), objects}
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// find is the index of the first group whose name is not less.
func (s State) find(name string) int {
	i, _ := slices.BinarySearchFunc(s.groups, name, func(g *Group, name string) int { return cmp.Compare(g.Name, name) })
	return i
}

// Join returns the groups of all states in one.
func Join(states ...State) State {
	var largest State
	at := -1
	for i, s := range states {
		if len(s.groups) > len(largest.groups) {
			largest, at = s, i
		}
	}
	var rest []*Group
	for i, s := range states {
		if i != at {
			rest = append(rest, s.groups...)
		}
	}
	return largest.Replace(nil, rest)
}

// Groups yields the groups in the order of their names.
func (s State) Groups() iter.Seq[*Group] { return slices.Values(s.groups) }

// Group returns the group of that name, or nil.
func (s State) Group(name string) *Group {
	i := s.find(name)
	if i == len(s.groups) || s.groups[i].Name != name {
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
	if s.objects > 0 {
		return s.objects
	}
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
		if part := g.only(keep); part != nil {
			out = append(out, part)
		}
	}
	return State{groups: out}.counted()
}

// only returns the part of a group that keep accepts: the group itself, a
// new one, or nil where nothing is left.
func (g *Group) only(keep func(Object) bool) *Group {
	if !slices.ContainsFunc(g.Objects, func(o Object) bool { return !keep(o) }) {
		return g
	}
	part := &Group{Name: g.Name, Origin: g.Origin}
	for _, o := range g.Objects {
		if keep(o) {
			part.Objects = append(part.Objects, o)
		}
	}
	if len(part.Objects) == 0 {
		return nil
	}
	return part
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
