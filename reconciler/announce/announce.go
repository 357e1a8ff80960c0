// Package announce tells the network between the hosts that this node has a
// load balancer address now: by gratuitous ARP (RFC 5227 section 3) and by
// unsolicited neighbour advertisements (RFC 4861 section 7.2.6), so that
// neighbours which remember another node's MAC address forget it.
//
// Who announces what is decided in reconciler/services, and the kernel answers
// those who ask (the proxy neighbours of reconciler/compile), whether the
// daemon runs or not. This package only speaks unasked, and only when
// something happened: an address came, or another node came, went or came
// back. Packets get lost, and another node may need a moment to let go, so
// each telling is repeated after 1, 2 and 4 seconds. While a node is silent
// that may still answer (its daemon died, its kernel did not), it goes on with
// pauses that double up to a minute.
package announce

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Held is what this node announces.
type Held struct {
	Link      string // of the underlay
	Addresses []netip.Addr
	// Occasion names what gives reason to tell: when it is another one, all
	// addresses are told of again.
	Occasion string
	// Rivals says that there is a silent node, which may still answer.
	Rivals bool
}

// Options are what an Announcer needs.
type Options struct {
	// Send tells once that an address is at a link of this host; nil is Send
	// of this package.
	Send func(link string, address netip.Addr) error
	Log  *slog.Logger
}

// Announcer tells of addresses. Its methods can be used by any goroutine.
type Announcer struct {
	send func(link string, address netip.Addr) error
	log  *slog.Logger
	poke chan struct{}

	mu   sync.Mutex
	held Held
}

// New makes an Announcer that holds nothing. It starts nothing.
func New(o Options) *Announcer {
	if o.Send == nil {
		o.Send = Send
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Announcer{send: o.Send, log: o.Log, poke: make(chan struct{}, 1)}
}

// Hold says what this node announces from now on.
func (a *Announcer) Hold(h Held) {
	a.mu.Lock()
	a.held = h
	a.mu.Unlock()
	select {
	case a.poke <- struct{}{}:
	default:
	}
}

// Run tells until ctx ends.
func (a *Announcer) Run(ctx context.Context) error {
	s := schedule{}
	for {
		a.mu.Lock()
		held := a.held
		a.mu.Unlock()
		s.follow(held, time.Now())
		for _, address := range s.due(time.Now()) {
			a.tell(&s, held.Link, address)
		}
		timer := time.NewTimer(s.pause(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.poke:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tell sends, and logs the first of several failures with one address.
func (a *Announcer) tell(s *schedule, link string, address netip.Addr) {
	e := s.entries[address]
	err := a.send(link, address)
	switch {
	case err != nil && !e.failed:
		a.log.Warn("neighbours are not told of a load balancer address", "address", address, "error", err)
	case err == nil && e.told == 0 && !e.known:
		a.log.Info("announcing a load balancer address", "address", address, "link", link)
	}
	e.failed = err != nil
	s.told(e, time.Now())
}

// The pauses of a telling.
const (
	firstPause = time.Second
	lastPause  = time.Minute
	// repeats is how often an address is told of without rivals.
	repeats = 4
	// idle is how long Run sleeps with nothing to do.
	idle = time.Hour
)

// schedule says when which address is told of. It is pure.
type schedule struct {
	held    Held
	entries map[netip.Addr]*entry
}

type entry struct {
	told   int // times, since the last occasion
	next   time.Time
	failed bool
	known  bool // was told of on an earlier occasion
}

// follow takes over what is held now.
func (s *schedule) follow(h Held, now time.Time) {
	again := h.Occasion != s.held.Occasion || h.Link != s.held.Link
	entries := make(map[netip.Addr]*entry, len(h.Addresses))
	for _, a := range h.Addresses {
		e := s.entries[a]
		if e == nil || again {
			e = &entry{next: now, known: e != nil}
		}
		entries[a] = e
	}
	if h.Rivals && !s.held.Rivals {
		for _, e := range entries {
			if e.next.IsZero() {
				e.next = now
			}
		}
	}
	s.held, s.entries = h, entries
}

// due are the addresses to be told of now, in their order.
func (s *schedule) due(now time.Time) []netip.Addr {
	var out []netip.Addr
	for _, a := range slices.SortedFunc(maps.Keys(s.entries), netip.Addr.Compare) {
		if e := s.entries[a]; !e.next.IsZero() && !now.Before(e.next) {
			out = append(out, a)
		}
	}
	return out
}

// told notes that an address was told of.
func (s *schedule) told(e *entry, now time.Time) {
	pause := min(firstPause<<min(e.told, 10), lastPause)
	e.told++
	e.next = now.Add(pause)
	if e.told >= repeats && !s.held.Rivals {
		e.next = time.Time{}
	}
}

// pause is how long nothing is due.
func (s *schedule) pause(now time.Time) time.Duration {
	out := idle
	for _, e := range s.entries {
		if !e.next.IsZero() {
			out = min(out, max(0, e.next.Sub(now)))
		}
	}
	return out
}
