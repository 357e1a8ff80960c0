package overlay

import (
	"maps"
	"net/netip"
	"sync"
)

// What the loop hears of. Each comes from a callback that must not block.
type (
	// evMessage is a message of another node, not decoded yet.
	evMessage []byte
	// evMember says that memberlist found a node alive, or dead.
	evMember struct {
		name string
		addr netip.AddrPort
		meta meta
		up   bool
	}
	// evVersion is the version that a peer gave with its answer to a probe.
	evVersion struct {
		name                string
		generation, version uint64
	}
	// evConflict is a second node of a name.
	evConflict struct {
		name        string
		addr, other netip.AddrPort
		meta        meta // of the other
	}
	// evDial is the outcome of an attempt to join through an address.
	evDial struct {
		addr netip.AddrPort
		err  error
	}
	// evNetwork says what became of the network: waiting is "" while it is up.
	evNetwork struct {
		waiting string
		problem *Problem
		gossip  netip.AddrPort
		keys    []string
	}
	// evRelease asks for a tombstone.
	evRelease struct {
		what  string
		reply chan<- error
	}
	// evAccused says that another node thought this one silent.
	evAccused struct{}

	evSettings     Settings
	evAnnouncement Announcement
)

// maxInbox is how many events wait at most; beyond it messages are dropped,
// which push/pull makes up for.
const maxInbox = 8192

// inbox hands events to the loop. Putting never blocks.
type inbox struct {
	mu       sync.Mutex
	events   []any
	counters map[string]uint64
	kick     chan struct{} // size one
}

func newInbox() *inbox {
	return &inbox{counters: map[string]uint64{}, kick: make(chan struct{}, 1)}
}

func (b *inbox) put(event any) {
	b.mu.Lock()
	if _, isMessage := event.(evMessage); isMessage && len(b.events) >= maxInbox {
		b.counters["overflow"]++
	} else {
		b.events = append(b.events, event)
	}
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.events
	b.events = nil
	return out
}

// count counts a message that was dropped for the reason.
func (b *inbox) count(reason string) {
	b.mu.Lock()
	b.counters[reason]++
	b.mu.Unlock()
}

func (b *inbox) counts() map[string]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.counters)
}
