package udp

import (
	"fmt"
	"net"
	"runtime"
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
// The Go scheduler is not told of system calls (RawSyscall) but for those that
// may take longer than holdFor. If it is told, its monitor looks every 20 µs
// whether to take the processor away from the thread, and takes it from a
// goroutine that is always either at work or waiting after 10 ms; the thread
// then has to find another when it goes on. That costs a fifth of the
// throughput, and doubles the time for an answer. A call that it was not told
// of is interrupted by a signal when the world is to stop.
type descriptors struct {
	list []int
	wake int // an eventfd that polls as readable once reading, or all, is to end
	// hold is whether there are enough processors (GOMAXPROCS) to keep one
	// while waiting.
	hold     bool
	draining atomic.Bool // reads end
	closing  atomic.Bool
	// users counts calls under way, plus closed once close was called. The
	// descriptors are closed by the last of them, so that none of the numbers
	// is given out again while a call uses it.
	users atomic.Int64
}

// holdFor is how long a waiting thread keeps its processor.
const holdFor = 5 * time.Millisecond

const closed = 1 << 40

func newDescriptors(o Tuning) (*descriptors, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &descriptors{wake: wake, hold: runtime.GOMAXPROCS(0) > o.Threads()}, nil
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

// enterRead is enter for calls that read.
func (d *descriptors) enterRead() bool {
	return !d.draining.Load() && d.enter()
}

// close makes calls end with net.ErrClosed. It may be called again.
func (d *descriptors) close() {
	if d.closing.Swap(true) {
		return
	}
	d.users.Add(closed + 1) // as a user itself, until all who wait are woken
	d.awaken()
	d.leave()
}

// StopReading makes pending and later reads end with net.ErrClosed, while what
// was read can still be written. A write that would have to wait for room
// fails.
func (d *descriptors) StopReading() {
	if d.draining.Swap(true) || !d.enter() {
		return
	}
	defer d.leave()
	d.awaken()
}

// awaken ends all waiting, for good.
func (d *descriptors) awaken() {
	one := [8]byte{0: 1, 7: 1} // not zero in either byte order
	_, _ = unix.Write(d.wake, one[:])
}

// await blocks until a descriptor is ready for events, or in error.
func (d *descriptors) await(fd int, events int16) error {
	if d.users.Load() >= closed {
		return net.ErrClosed
	}
	list := [2]unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	ready, errno := 0, unix.Errno(0)
	if d.hold {
		limit := unix.NsecToTimespec(int64(holdFor))
		n, _, e := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&list)), uintptr(len(list)),
			uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
		ready, errno = int(n), e
	}
	for errno == unix.EINTR || errno == 0 && ready == 0 {
		n, _, e := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&list)), uintptr(len(list)), 0, 0, 0, 0)
		ready, errno = int(n), e
	}
	switch {
	case errno != 0:
		return fmt.Errorf("poll: %w", errno)
	case list[1].Revents != 0:
		return net.ErrClosed
	}
	return nil
}
