package udp

import (
	"runtime"
	"time"
)

// Tuning says how a device and its sockets are used. All of a tunnel have the
// same.
type Tuning struct {
	Rungs Rungs
	// Lanes is how many threads move packets in each direction; 0 lets the
	// number of processors decide.
	Lanes int
	// Spin is how long a reader looks again at most before it sleeps; half as
	// long where no answer is due. 0 means 120 µs.
	Spin time.Duration
}

const (
	mostLanes = 4 // without being asked for more
	// defaultSpin lets both ends of a tunnel stay awake for a request and its
	// answer: see the package comment, Latency.
	defaultSpin = 120 * time.Microsecond
)

// Threads is how many threads a tunnel keeps busy at most. Each of them holds
// a processor of the Go runtime nearly all the time, so that a process with a
// tunnel needs so many more than the host has (GOMAXPROCS).
func (o Tuning) Threads() int { return 2 * o.lanes() }

func (o Tuning) lanes() int {
	switch {
	case !o.Rungs.Has(Lanes):
		return 1
	case o.Lanes > 0:
		return o.Lanes
	}
	return max(1, min(runtime.NumCPU()/4, mostLanes))
}

// spin is how long to look again.
func (o Tuning) spin() time.Duration {
	switch {
	case !o.Rungs.Has(Spin):
		return 0
	case o.Spin > 0:
		return o.Spin
	}
	return defaultSpin
}

// usable are the rungs but those that this host is too small for.
func (o Tuning) usable() Rungs {
	r := o.Rungs
	if o.lanes() == 1 {
		r &^= Lanes
	}
	return r
}
