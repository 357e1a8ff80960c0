// Package discovery is the cluster's DNS zone: it makes the records of the
// Kubernetes DNS specification 1.1.0 from documents and the view. It is pure;
// package dns below it serves what it makes.
//
//	zone := discovery.NewZone()
//	zone.Update(discovery.Input{…})      // after each round, by one goroutine
//	zone.Table().Lookup(name, kind)      // any number of others, at any time
//
// A [Table] never changes. Update compares services and pods with those of
// before, makes the records of the changed ones only, and swaps the table: a
// question meets all of an update or nothing of it. Records are kept in the
// form in which they go into messages (see [Set]), so that an answer is a
// copy.
//
// Ours are the domain, and the names of all addresses in the ranges of pods
// and services. Nothing of that is ever asked of others. The address of an
// endpoint outside of these ranges has a name, too; whatever else there is
// below its reverse name is somebody else's.
package discovery

import (
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// Version is that of the Kubernetes DNS specification.
const Version = "1.1.0"

// Input is what a zone is made of. None of it may change afterwards.
type Input struct {
	Cluster  *schema.Cluster
	Services []services.Service // all of them, sorted by namespace and name
	View     view.View
	Underlay []netip.Addr // of this node, for its pods without an address of their own
}

// Zone keeps the table in step with its input.
type Zone struct {
	table atomic.Pointer[Table]

	mu       sync.Mutex // of Update
	settings string     // of the Cluster, that all names depend on
	services []services.Service
	pods     map[string]nodePods // by node
	// more counts how often a shared record was asked for after the first time.
	more   map[shared]int
	serial uint32
}

// nodePods are the pods of a node, and the addresses of those in its network.
type nodePods struct {
	pods     []view.Pod
	underlay []netip.Addr
}

// NewZone makes a zone without a table: nothing is known until the first
// Update.
func NewZone() *Zone { return &Zone{} }

// Table returns the current table, nil before the first Update.
func (z *Zone) Table() *Table { return z.table.Load() }

// Update makes the table follow the input, and reports whether it changed.
// Its cost is that of comparing the services with those of before, one by
// one, and of making the records of those that differ.
func (z *Zone) Update(in Input) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	c := in.Cluster
	settings := fmt.Sprint(c.DNS.Domain, c.DNS.Addresses, c.ServiceCIDRs, c.PodCIDRs)
	var e *edit
	before := z.table.Load()
	if settings == z.settings {
		e = before.edit()
	} else {
		e = newTable(c).edit()
		z.settings, z.services, z.pods, z.more = settings, nil, nil, map[shared]int{}
		before = nil
	}
	u := update{edit: e, more: z.more, service: "\x03svc" + e.domain, pod: "\x03pod" + e.domain}
	u.services(z.services, in.Services)
	pods := podsOf(in)
	u.pods(z.pods, pods)
	z.services, z.pods = in.Services, pods
	if before != nil && !u.changed {
		return false
	}
	z.serial++
	e.soa = newSet(TypeSOA, soaData(e.domain, z.serial))
	z.table.Store(e.Table)
	return true
}

// newTable makes a table with what is there without a service and a pod.
func newTable(c *schema.Cluster) *Table {
	t := &Table{seed: maphash.MakeSeed(), domain: Wire(c.DNS.Domain), ranges: slices.Concat(c.ServiceCIDRs, c.PodCIDRs)}
	t.any = newSet(TypeHINFO, label("RFC8482")+label(""))
	t.ns = newSet(TypeNS, "\x02ns\x03dns"+t.domain)
	e := t.edit()
	e.set("\x0bdns-version"+t.domain, []Set{newSet(TypeTXT, label(Version))})
	e.set("\x02ns\x03dns"+t.domain, addressSets(c.DNS.Addresses))
	for _, l := range []string{"svc", "pod"} {
		// These names exist in every cluster, with something below or not.
		e.put(&node{name: label(l) + t.domain, zone: uint8(len(t.domain)), below: 1})
	}
	return e.Table
}

// update is an edit under way.
type update struct {
	*edit
	more         map[shared]int
	service, pod string // the names above those of services and pods
	changed      bool
}

// services walks both lists, which are sorted, at the same time.
func (u *update) services(before, after []services.Service) {
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		case before[0].Document != after[0].Document:
			order = before[0].Document.Name.Compare(after[0].Document.Name)
		}
		var old, next records
		if order == 0 && same(&before[0], &after[0]) {
			before, after = before[1:], after[1:]
			continue
		}
		if order <= 0 {
			old, before = ofService(&before[0], u.service), before[1:]
		}
		if order >= 0 {
			next, after = ofService(&after[0], u.service), after[1:]
		}
		u.replace(old, next)
	}
}

// same reports whether two states of a service give the same records for
// certain.
func same(a, b *services.Service) bool {
	return a.Document == b.Document &&
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

// podsOf lists the pods of all nodes.
func podsOf(in Input) map[string]nodePods {
	out := make(map[string]nodePods, 1+len(in.View.Peers))
	for _, p := range in.View.Peers {
		out[p.Name] = nodePods{p.Pods, p.Underlay}
	}
	out[in.View.Self.Name] = nodePods{in.View.Self.Pods, in.Underlay}
	return out
}

func (u *update) pods(before, after map[string]nodePods) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		b, a := before[name], after[name]
		if slices.Equal(b.underlay, a.underlay) && (sameSlice(b.pods, a.pods) || slices.EqualFunc(b.pods, a.pods, samePod)) {
			continue
		}
		u.exchange(b.records(u.pod), a.records(u.pod))
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := after[name]; !still {
			u.exchange(before[name].records(u.pod), nil)
		}
	}
}

// samePod compares what names depend on.
func samePod(a, b view.Pod) bool {
	return a.Namespace == b.Namespace && slices.Equal(a.Addresses, b.Addresses)
}

// records are the names of pods (specification 2.6), for pods that exist.
func (n nodePods) records(suffix string) []shared {
	var out []shared
	for _, p := range n.pods {
		addresses := p.Addresses
		if len(addresses) == 0 {
			addresses = n.underlay
		}
		for _, a := range addresses {
			if name := label(dashed(a)) + label(p.Namespace) + suffix; len(name) <= greatestName {
				out = append(out, shared{name, addressType(a), string(a.AsSlice())})
			}
		}
	}
	return out
}
