package udp

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// spinner lets a reader look again for a while before it sleeps: the next
// packet of a busy flow, or the answer to a request, is mostly only some
// microseconds away, and waking up costs more than that. Where it is in vain
// (all processors are busy, so that nobody can send anything meanwhile) it
// soon stops, and tries again only now and then.
//
// It looks for the whole limit only if something went the other way since the
// last packet, so that an answer may be due, and else for half of it: a thin
// stream in one direction is worth no processor of its own.
type spinner struct {
	limit  time.Duration
	since  time.Time // of looking in vain
	credit int       // goes up with each packet found by looking again
	resume int       // waits until the next try without credit

	_        [64]byte // the other direction's goroutine writes what follows
	answered atomic.Bool
	_        [64]byte
}

const (
	mostCredit  = 8
	failedSpin  = 3  // credit that looking in vain costs
	resumeAfter = 50 // waits
)

// again reports whether to look once more. Others may run first.
func (s *spinner) again() bool {
	if s.limit == 0 {
		return false
	}
	if s.since.IsZero() {
		if s.credit <= 0 {
			if s.resume--; s.resume > 0 {
				return false
			}
			s.resume = resumeAfter
		}
		s.since = time.Now()
	} else if time.Since(s.since) > s.patience() {
		s.since = time.Time{}
		s.credit = max(0, s.credit-failedSpin)
		return false
	}
	unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	return true
}

// patience is how long to look.
func (s *spinner) patience() time.Duration {
	if s.answered.Load() {
		return s.limit
	}
	return s.limit / 2
}

// found is told of a packet.
func (s *spinner) found() {
	if s.answered.Load() {
		s.answered.Store(false)
	}
	if !s.since.IsZero() {
		s.since = time.Time{}
		s.credit = min(mostCredit, s.credit+1)
	}
}

// sent is told of packets the other way, by any goroutine.
func (s *spinner) sent() {
	if !s.answered.Load() { // else the line stays in both caches
		s.answered.Store(true)
	}
}

// spinners makes one for each lane.
func (o Tuning) spinners() []*spinner {
	list := make([]*spinner, o.lanes())
	for i := range list {
		list[i] = &spinner{limit: o.spin()}
	}
	return list
}
