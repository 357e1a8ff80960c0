package discovery

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

// Table is the zone at one moment: all names and their records, ready to be
// sent. It never changes, and any number of goroutines may read it.
//
// It is a tree of two levels by the hash of a name, so that the next table
// shares all but the few pages that names changed in.
type Table struct {
	seed    maphash.Seed
	pages   [256]*page
	domain  string
	ranges  []netip.Prefix
	soa, ns Set // what the apex of each zone has
	any     Set // the answer to ANY
	names   int // with records
}

type page [256]*node

// node is a name that exists. It never changes.
type node struct {
	next *node // with the same place in the page
	hash uint64
	name string
	sets []Set
	// below counts the names with one label more that exist: a name exists
	// as long as one below it does (RFC 8020).
	below int32
	// zone is the length of the apex of the zone that the name is in. 0 is
	// for the address of an endpoint outside of our ranges: nothing but its
	// records is ours.
	zone uint8
}

// Outcome says what the table knows of a question.
type Outcome uint8

// The outcomes.
const (
	Outside Outcome = iota // the name is not ours: ask others
	Answer                 // the records are in Result.Set
	Alias                  // Result.Set is a CNAME, whatever type was asked for
	NoData                 // the name exists, but has nothing of that type
	NoName                 // there is no such name
)

// Result is the outcome of a question.
type Result struct {
	Outcome Outcome
	// Zone is the length of the apex of the name's zone, which is the end of
	// the name: SOA records belong there. 0 with answers from outside our zones.
	Zone int
	Set  *Set
}

// Lookup finds what there is for a name, in wire form and lower case, and a
// type of the class IN. It allocates nothing.
func (t *Table) Lookup(name []byte, kind uint16) Result {
	n := t.find(maphash.Bytes(t.seed, name), name)
	zone := 0
	if n != nil {
		for i := range n.sets {
			if n.sets[i].Type == kind {
				return Result{Answer, int(n.zone), &n.sets[i]}
			}
		}
		zone = int(n.zone)
	} else {
		zone = t.zoneOf(name)
	}
	apex := zone == len(name)
	switch {
	case zone == 0:
		return Result{}
	case n == nil && !apex:
		return Result{Outcome: NoName, Zone: zone}
	case kind == TypeANY:
		return Result{Answer, zone, &t.any}
	case apex && kind == TypeNS:
		return Result{Answer, zone, &t.ns}
	case apex && kind == TypeSOA:
		return Result{Answer, zone, &t.soa}
	case n != nil && len(n.sets) == 1 && n.sets[0].Type == TypeCNAME:
		return Result{Alias, zone, &n.sets[0]}
	}
	return Result{Outcome: NoData, Zone: zone}
}

// Any is the answer to a question for everything that a name has (RFC 8482).
func (t *Table) Any() *Set { return &t.any }

// Names is how many names have records.
func (t *Table) Names() int { return t.names }

// AppendAuthority adds the SOA record that goes with Result.Zone to a
// message, to the question of which the result is; length is that of the
// name in the question. It tells clients how long they may remember that
// there is nothing (RFC 2308).
func (t *Table) AppendAuthority(b []byte, length, zone int) []byte {
	b = binary.BigEndian.AppendUint16(b, pointer|uint16(question+length-zone))
	return append(b, t.soa.Answers[2:]...)
}

func (t *Table) find(hash uint64, name []byte) *node {
	p := t.pages[hash>>56]
	if p == nil {
		return nil
	}
	for n := p[hash>>48&255]; n != nil; n = n.next {
		if n.hash == hash && n.name == string(name) {
			return n
		}
	}
	return nil
}

// zoneOf returns the length of the apex of the zone of ours that a name is
// in, 0 for none.
func (t *Table) zoneOf(name []byte) int {
	for at := 0; len(name)-at >= len(t.domain); at += 1 + int(name[at]) {
		if len(name)-at == len(t.domain) {
			if string(name[at:]) == t.domain {
				return len(t.domain)
			}
			break
		}
	}
	if !bytes.HasSuffix(name, []byte("\x04arpa\x00")) {
		return 0
	}
	return reverseZone(name, t.ranges)
}

// edit makes the next table.
type edit struct {
	*Table
	fresh [256]bool // pages that are this table's own
}

func (t *Table) edit() *edit {
	next := *t
	return &edit{Table: &next}
}

func (e *edit) get(name string) *node {
	return e.find(maphash.String(e.seed, name), []byte(name))
}

// put adds a node, in place of one with the same name.
func (e *edit) put(n *node) {
	n.hash = maphash.String(e.seed, n.name)
	slot := e.slot(n.hash)
	n.next = without(*slot, n.name)
	*slot = n
}

// drop removes the node of a name.
func (e *edit) drop(name string) {
	slot := e.slot(maphash.String(e.seed, name))
	*slot = without(*slot, name)
}

// slot returns a place that may be written to.
func (e *edit) slot(hash uint64) *(*node) {
	i := hash >> 56
	if !e.fresh[i] {
		p := new(page)
		if e.pages[i] != nil {
			*p = *e.pages[i]
		}
		e.pages[i], e.fresh[i] = p, true
	}
	return &e.pages[i][hash>>48&255]
}

// without returns a list of nodes without the one of a name. The given list
// stays as it is.
func without(list *node, name string) *node {
	if list == nil {
		return nil
	}
	if list.name == name {
		return list.next
	}
	rest := without(list.next, name)
	if rest == list.next {
		return list
	}
	copied := *list
	copied.next = rest
	return &copied
}

// set gives a name these records, instead of those that it has; without any,
// it goes, and so do the names above that existed because of it.
func (e *edit) set(name string, sets []Set) {
	before := e.get(name)
	if before == nil && len(sets) == 0 {
		return
	}
	next := node{name: name, sets: sets}
	if before != nil {
		next.name, next.below, next.zone = before.name, before.below, before.zone
		e.names -= min(len(before.sets), 1)
	} else {
		next.zone = uint8(e.zoneOf([]byte(name)))
	}
	e.names += min(len(sets), 1)
	if len(sets) == 0 && next.below == 0 {
		e.drop(name)
		e.count(&next, -1)
		return
	}
	e.put(&next)
	if before == nil {
		e.count(&next, 1)
	}
}

// count tells the name above that a name has come or gone.
func (e *edit) count(n *node, by int32) {
	if n.zone == 0 || len(n.name) <= int(n.zone)+1+int(n.name[0]) {
		return // above is the apex, which always exists, or not ours
	}
	name := parent(n.name)
	above := e.get(name)
	fresh := above == nil
	next := node{name: name, zone: n.zone}
	if !fresh {
		next = *above
	}
	next.below += by
	if next.below == 0 && len(next.sets) == 0 {
		e.drop(name)
		e.count(&next, -1)
		return
	}
	e.put(&next)
	if fresh {
		e.count(&next, 1)
	}
}
