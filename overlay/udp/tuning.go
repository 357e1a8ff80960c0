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
	// Spin is how long a reader looks again before it sleeps; 0 means 50 µs.
	Spin time.Duration
}

const (
	mostLanes   = 4 // without being asked for more
	defaultSpin = 50 * time.Microsecond
)

// Threads is how many threads a tunnel keeps busy at most. The Go runtime has
// as many processors as the host, and each of those threads holds one nearly
// all the time: a process with tunnels needs so many more (GOMAXPROCS), or the
// runtime takes them away from threads that are in a system call, 10,000 times
// a second, which costs a tunnel a fifth of its throughput and twice the time
// for an answer.
func (o Tuning) Threads() int { return 2 * o.lanes() }

func (o Tuning) lanes() int {
	switch {
	case !o.Rungs.Has(Lanes):
		return 1
	case o.Lanes > 0:
		return o.Lanes
	}
	return max(1, min(runtime.NumCPU()/2, mostLanes))
}
