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
	Services []*services.Service // all of them, sorted by namespace and name
	View     view.View
	Underlay []netip.Addr // of this node, for its pods without an address of their own
}

// Zone keeps the table in step with its input.
type Zone struct {
	table atomic.Pointer[Table]

	mu       sync.Mutex // of Update
	settings string     // of the Cluster, that all names depend on
	services []*services.Service
	self     nodePods
	peers    []view.Peer
	// more counts how often a shared record was asked for after the first time.
	more   map[shared]int
	serial uint32
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
		z.settings, z.services, z.self, z.peers, z.more = settings, nil, nodePods{}, nil, map[shared]int{}
		before = nil
	}
	u := update{edit: e, more: z.more, service: "\x03svc" + e.domain, pod: "\x03pod" + e.domain}
	u.services(z.services, in.Services)
	self := nodePods{in.View.Self.Pods, in.Underlay}
	u.pods(z.self, self)
	u.peers(z.peers, in.View.Peers)
	z.services, z.self, z.peers = in.Services, self, in.View.Peers
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
