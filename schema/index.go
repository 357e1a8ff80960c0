package schema

import (
	"cmp"
	"maps"
	"slices"
)

// index holds the documents of the last tree, kept up to date file by file,
// so that the cost of a Parse follows what changed and not how much there is.
type index struct {
	clusters, subnets, nodes, pods, services, slices list

	byKind    map[string]int // documents, broken ones too
	documents int
	// brokenClusters counts Cluster documents with errors of their own.
	brokenClusters int
	// plain counts by node the pods that want nothing in particular; wishful
	// are the others: with a static address, a subnet or hostNetwork.
	plain   map[string]uint64
	wishful list
	labels  podLabels
	noisy   map[*parsedFile]bool

	memo memo
}

func newIndex() *index {
	return &index{
		byKind: map[string]int{}, plain: map[string]uint64{}, labels: newPodLabels(), noisy: map[*parsedFile]bool{},
	}
}

// update takes out the units of files that are gone and puts in those of new
// ones.
func (x *index) update(gone, added []*parsedFile) {
	var out, in [7][]*unit
	for _, f := range gone {
		delete(x.noisy, f)
		for _, u := range f.units {
			u.gone = true
			x.count(u, -1)
			x.sortOut(&out, u)
		}
	}
	for _, f := range added {
		if f.noisy() {
			x.noisy[f] = true
		}
		for _, u := range f.units {
			x.count(u, 1)
			x.sortOut(&in, u)
		}
	}
	for i, l := range []*list{&x.clusters, &x.subnets, &x.nodes, &x.pods, &x.services, &x.slices, &x.wishful} {
		l.update(out[i], in[i])
	}
	x.updatePods(out[3], in[3])
	for i := 1; i <= 5; i++ {
		x.memo.gone, x.memo.fresh = append(x.memo.gone, out[i]...), append(x.memo.fresh, in[i]...)
	}
}

// noisyFiles are those with something to say, in the order of their paths.
func (x *index) noisyFiles() []*parsedFile {
	return slices.SortedFunc(maps.Keys(x.noisy), func(a, b *parsedFile) int { return cmp.Compare(a.path, b.path) })
}

// sortOut appends a unit to the lists that it belongs to, in the order of
// update.
func (x *index) sortOut(lists *[7][]*unit, u *unit) {
	if u.broken {
		return
	}
	add := func(i int) { lists[i] = append(lists[i], u) }
	switch {
	case u.cluster != nil:
		add(0)
	case u.subnet != nil:
		add(1)
	case u.node != nil:
		add(2)
	case u.pod != nil:
		add(3)
		if u.pod.wishful() {
			add(6)
		}
	case u.draft != nil:
		add(4)
	default:
		add(5)
	}
}

// wishful reports whether the pod's address is anything but an automatic one.
func (p *Pod) wishful() bool { return p.HostNetwork || p.Subnet != "" || len(p.StaticIPs) > 0 }

func (x *index) count(u *unit, by int) {
	x.documents += by
	x.byKind[u.kind.name] += by
	if x.byKind[u.kind.name] == 0 {
		delete(x.byKind, u.kind.name)
	}
	if u.broken && u.kind.name == "Cluster" {
		x.brokenClusters += by
	}
}

func (x *index) updatePods(out, in []*unit) {
	few := len(out)*fewChanges <= len(x.pods.units)
	for _, u := range out {
		x.labels.leave(u, few)
		if !u.pod.wishful() {
			if x.plain[u.pod.NodeName]--; x.plain[u.pod.NodeName] == 0 {
				delete(x.plain, u.pod.NodeName)
			}
		}
	}
	for _, u := range in {
		x.labels.add(u)
		if !u.pod.wishful() {
			x.plain[u.pod.NodeName]++
		}
	}
	if !few {
		x.labels.rebuild(x.pods.units)
	}
}

// list is a list of units, sorted by name, kind and place.
type list struct {
	units []*unit
	// twice says that two documents may have one kind and name.
	twice bool
}

// compareUnits orders by name, kind and place; no two units are equal.
func compareUnits(a, b *unit) int { return cmp.Or(compareDocuments(a, b), comparePlaces(a, b)) }

// compareDocuments orders by name and kind.
func compareDocuments(a, b *unit) int {
	return cmp.Or(a.meta.Name.Compare(b.meta.Name), cmp.Compare(a.kind.name, b.kind.name))
}

func comparePlaces(a, b *unit) int {
	return cmp.Or(
		cmp.Compare(a.meta.Place.File, b.meta.Place.File),
		cmp.Compare(a.index, b.index),
		cmp.Compare(a.meta.Place.Line, b.meta.Place.Line),
		cmp.Compare(a.meta.Place.Column, b.meta.Place.Column),
	)
}

func sameDocument(a, b *unit) bool { return a.meta.Name == b.meta.Name && a.kind == b.kind }

// fewChanges is up to which share of a list changes are made one by one.
const fewChanges = 16

func (l *list) update(gone, added []*unit) {
	if l.twice || (len(gone)+len(added))*fewChanges > len(l.units) {
		l.rebuild(gone, added)
		return
	}
	l.units = splice(l.units, gone, added, compareDocuments)
	for _, u := range added {
		i, _ := slices.BinarySearchFunc(l.units, u, compareDocuments)
		l.twice = l.twice || i+1 < len(l.units) && sameDocument(l.units[i], l.units[i+1])
	}
	if l.twice {
		slices.SortFunc(l.units, compareUnits)
	}
}

func (l *list) rebuild(gone, added []*unit) {
	if len(gone)+len(added) == 0 {
		return
	}
	leaving := make(map[*unit]bool, len(gone))
	for _, u := range gone {
		leaving[u] = true
	}
	l.units = slices.DeleteFunc(l.units, func(u *unit) bool { return leaving[u] })
	l.units = append(l.units, added...)
	slices.SortFunc(l.units, compareUnits)
	l.twice = true
}

// distinct returns the list without documents that are there twice, and
// those. The first of two by place stays.
func (l *list) distinct() (units []*unit, twice [][2]*unit) {
	if !l.twice {
		return l.units, nil
	}
	for _, u := range l.units {
		if n := len(units); n > 0 && sameDocument(units[n-1], u) {
			twice = append(twice, [2]*unit{units[n-1], u})
		} else {
			units = append(units, u)
		}
	}
	l.twice = len(twice) > 0
	return units, twice
}
