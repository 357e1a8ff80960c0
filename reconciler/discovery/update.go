package discovery

import (
	"slices"

	"github.com/poplin-net/poplin/reconciler/services"
)

// update is an edit under way.
type update struct {
	*edit
	more         map[shared]int
	service, pod string // the names above those of services and pods
	changed      bool
}

// services walks both lists, which are sorted, at the same time.
func (u *update) services(before, after []*services.Service) {
	if sameSlice(before, after) {
		return
	}
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		case before[0] != after[0]:
			order = before[0].Document.Name.Compare(after[0].Document.Name)
		}
		var old, next records
		if order == 0 && same(before[0], after[0]) {
			before, after = before[1:], after[1:]
			continue
		}
		if order <= 0 {
			old, before = ofService(before[0], u.service), before[1:]
		}
		if order >= 0 {
			next, after = ofService(after[0], u.service), after[1:]
		}
		u.replace(old, next)
	}
}

// same reports whether two states of a service give the same records for
// certain.
func same(a, b *services.Service) bool {
	return a == b || a.Document == b.Document &&
		(sameSlice(a.Headless, b.Headless) || slices.EqualFunc(a.Headless, b.Headless, services.HeadlessEndpoint.Equal))
}

// sameSlice reports whether two slices are one and the same.
func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// replace exchanges the records of one service.
func (u *update) replace(old, next records) {
	gone := make(map[string]bool, len(old.own))
	for _, n := range old.own {
		gone[n.name] = true
	}
	for _, n := range next.own {
		delete(gone, n.name)
		if len(n.name) > greatestName {
			continue // a long domain: nobody can ask for it
		}
		if have := u.get(n.name); have == nil || !slices.Equal(have.sets, n.sets) {
			u.set(n.name, n.sets)
			u.changed = true
		}
	}
	for _, n := range old.own {
		if gone[n.name] {
			u.set(n.name, nil)
			u.changed = true
		}
	}
	u.exchange(old.shared, next.shared)
}

// exchange takes shared records away and adds others.
func (u *update) exchange(old, next []shared) {
	gone := make(map[shared]int, len(old))
	for _, r := range old {
		gone[r]++
	}
	for _, r := range next {
		if gone[r] > 0 {
			gone[r]--
		} else {
			u.add(r)
		}
	}
	for _, r := range old {
		if gone[r] > 0 {
			gone[r]--
			u.remove(r)
		}
	}
}

func (u *update) add(r shared) {
	u.changed = true
	var data []string
	var others []Set
	if n := u.get(r.name); n != nil {
		data, others = split(n.sets, r.kind)
	}
	at, found := slices.BinarySearch(data, r.data)
	if found {
		u.more[r]++
		return
	}
	u.set(r.name, append(others, newSet(r.kind, slices.Insert(data, at, r.data)...)))
}

func (u *update) remove(r shared) {
	u.changed = true
	if n := u.more[r]; n > 1 {
		u.more[r]--
		return
	} else if n == 1 {
		delete(u.more, r)
		return
	}
	data, others := split(u.get(r.name).sets, r.kind)
	if at, found := slices.BinarySearch(data, r.data); found {
		data = slices.Delete(data, at, at+1)
	}
	if len(data) > 0 {
		others = append(others, newSet(r.kind, data...))
	}
	u.set(r.name, others)
}

// split gives what the records of one type say, sorted, and the other sets.
func split(sets []Set, kind uint16) (data []string, others []Set) {
	for _, s := range sets {
		if s.Type == kind {
			data = s.data()
		} else {
			others = append(others, s)
		}
	}
	return data, others
}
