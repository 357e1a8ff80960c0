package udp

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// descriptors are non-blocking file descriptors that are used by goroutines
// in system calls of their own, not through the runtime's poller: a goroutine
// that waits sleeps in ppoll(2) and runs on as soon as the kernel wakes its
// thread. Through the poller another thread is woken first, then this one.
//
// Only waiting is announced to the Go scheduler. All other calls are made as
// if they were computation (RawSyscall): they end within microseconds, and a
// call that is announced makes the runtime's monitor look every 20 µs whether
// to take the processor away.
type descriptors struct {
	list []int
	wake int // an eventfd that polls as readable once close was called
	// users counts calls under way, plus closed once close was called. The
	// descriptors are closed by the last of them, so that none of the numbers
	// is given out again while a call uses it.
	users atomic.Int64
}

const closed = 1 << 40

func newDescriptors() (*descriptors, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &descriptors{wake: wake}, nil
}

// enter begins a call, which leave ends. It reports whether they are open.
func (d *descriptors) enter() bool {
	if d.users.Add(1) < closed {
		return true
	}
	d.leave()
	return false
}

func (d *descriptors) leave() {
	if d.users.Add(-1) == closed {
		d.release()
	}
}

func (d *descriptors) release() {
	for _, fd := range append(d.list, d.wake) {
		unix.Close(fd)
	}
}

// close makes calls end with net.ErrClosed. It may be called again.
func (d *descriptors) close() {
	if d.users.Add(1) > closed {
		d.users.Add(-1)
		return
	}
	one := [8]byte{0: 1, 7: 1} // not zero in either byte order
	_, _ = unix.Write(d.wake, one[:])
	d.users.Add(closed)
	d.leave()
}

// await blocks until a descriptor is ready for events, or in error.
func (d *descriptors) await(fd int, events int16) error {
	if d.users.Load() >= closed {
		return net.ErrClosed
	}
	list := [2]unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	for {
		_, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&list)), uintptr(len(list)), 0, 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return fmt.Errorf("poll: %w", errno)
		case list[1].Revents != 0:
			return net.ErrClosed
		default:
			return nil
		}
	}
}

// spinner lets a reader look again a few times before it sleeps: the next
// packet of a busy flow, or the answer to a request, is mostly only some
// microseconds away, and waking up costs more than that.
type spinner struct {
	limit time.Duration
	since time.Time // of looking in vain
}

// again reports whether to look once more. Others may run first.
func (s *spinner) again() bool {
	if s.limit == 0 {
		return false
	}
	now := time.Now()
	if s.since.IsZero() {
		s.since = now
	} else if now.Sub(s.since) > s.limit {
		s.since = time.Time{}
		return false
	}
	unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	return true
}

func (s *spinner) found() { s.since = time.Time{} }

// spinners makes one for each lane.
func (o Tuning) spinners() []spinner {
	limit := o.Spin
	switch {
	case !o.Rungs.Has(Spin):
		limit = 0
	case limit == 0:
		limit = defaultSpin
	}
	list := make([]spinner, o.lanes())
	for i := range list {
		list[i].limit = limit
	}
	return list
}
