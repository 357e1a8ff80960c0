package nft

import (
	"fmt"

	"github.com/poplin-net/poplin/reconciler"
)

// groupName names the group of what is there and in no group that is known.
const groupName = "nft"

// adopt makes seen of what was read, and of what was known of the families
// that were not.
func (t *Target) adopt(tables map[reconciler.Family]found) {
	var objects []reconciler.Object
	for _, f := range families() {
		table, wasRead := tables[f]
		if !wasRead {
			objects = append(objects, ofFamily(t.seen, f)...)
			continue
		}
		t.setConflict(f, table.exists && table.version == 0)
		delete(t.tables, f)
		delete(t.handles, f)
		if list := table.objects(f); len(list) > 0 {
			objects = append(objects, list...)
			t.tables[f] = list[0].(reconciler.Table)
			t.handles[f] = table.handle
		}
	}
	clear(t.chains)
	for _, o := range objects {
		if c, ok := o.(reconciler.Chain); ok {
			t.chains[c] = true
		}
	}
	t.seen = regroup(objects, t.desired)
}

// setConflict notes whether a family's table is somebody else's.
func (t *Target) setConflict(f reconciler.Family, conflict bool) {
	key := reconciler.TableKey{Family: f}
	var kept []reconciler.Conflict
	for _, c := range t.conflicts {
		if c.Key != key {
			kept = append(kept, c)
		}
	}
	if conflict {
		kept = append(kept, reconciler.Conflict{
			Key:    key,
			What:   fmt.Sprintf("table %s %s exists and is not poplin's", f, tableName),
			Remedy: fmt.Sprintf("nft delete table %s %s", f, tableName),
		})
	}
	t.conflicts = kept
}

// conflicting reports whether a family's table is somebody else's.
func (t *Target) conflicting(f reconciler.Family) (reconciler.Conflict, bool) {
	for _, c := range t.conflicts {
		if c.Key == (reconciler.TableKey{Family: f}) {
			return c, true
		}
	}
	return reconciler.Conflict{}, false
}

// regroup makes a state of objects. A group of known that is there whole is
// used as it is; what remains is one group.
func regroup(objects []reconciler.Object, known reconciler.State) reconciler.State {
	present := make(map[reconciler.Object]bool, len(objects))
	ranges := map[tableSet][]reconciler.Element{}
	for _, o := range objects {
		present[o] = true
		if e, ok := o.(reconciler.Element); ok && isRange(e) {
			ranges[setOf(e)] = append(ranges[setOf(e)], e)
		}
	}
	holds := func(o reconciler.Object) bool {
		if present[o] {
			return true
		}
		e, ok := o.(reconciler.Element)
		return ok && isRange(e) && inside(e, ranges[setOf(e)])
	}
	var groups []*reconciler.Group
	for g := range known.Groups() {
		if !all(g.Objects, holds) {
			continue
		}
		groups = append(groups, g)
		for _, o := range g.Objects {
			delete(present, o)
		}
	}
	rest := &reconciler.Group{Name: groupName}
	for _, o := range objects {
		if present[o] {
			rest.Objects = append(rest.Objects, o)
		}
	}
	return reconciler.NewState(append(groups, rest)...)
}

// inside reports whether a prefix lies inside one of others. Such a prefix
// is not written (see outermost) and nevertheless there.
func inside(e reconciler.Element, others []reconciler.Element) bool {
	for _, o := range others {
		if o.Prefix.Bits() < e.Prefix.Bits() && o.Prefix.Contains(e.Prefix.Addr()) {
			return true
		}
	}
	return false
}

func all(objects []reconciler.Object, keep func(reconciler.Object) bool) bool {
	for _, o := range objects {
		if !keep(o) {
			return false
		}
	}
	return true
}

// familyOf gives the family of an object of the target's kinds.
func familyOf(o reconciler.Object) reconciler.Family {
	switch o := o.(type) {
	case reconciler.Table:
		return o.Family
	case reconciler.Chain:
		return o.Family
	case reconciler.Element:
		return o.Family
	}
	return ""
}

// ofFamily lists a state's objects of one family.
func ofFamily(s reconciler.State, f reconciler.Family) []reconciler.Object {
	var out []reconciler.Object
	for _, o := range s.Objects() {
		if familyOf(o) == f {
			out = append(out, o)
		}
	}
	return out
}

// tableSet names a set of one of the tables.
type tableSet struct {
	family reconciler.Family
	set    reconciler.SetName
}

func setOf(e reconciler.Element) tableSet { return tableSet{e.Family, e.Set} }
