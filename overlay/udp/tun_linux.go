package udp

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// tunFlags are the flags that the device must have been made with: a holder
// that asks for another IFF_MULTI_QUEUE is refused by the kernel.
const tunFlags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE

// tun is a queue of a persistent TUN device.
type tun struct {
	name   string
	file   *os.File
	raw    syscall.RawConn
	closed atomic.Bool

	// Of the Read that is under way.
	readFD func(fd uintptr) bool // bound once, so that reading allocates nothing
	into   [][]byte
	n      int
	err    error
}

// OpenDevice attaches to a persistent, multi-queue TUN device that exists in
// the network namespace of the calling thread. It makes none.
func OpenDevice(name string) (Device, error) {
	if _, err := net.InterfaceByName(name); err != nil {
		return nil, fmt.Errorf("tun %s: %w", name, err)
	}
	// Non-blocking, so that the runtime's poller waits for it and Close wakes
	// a Read. It must be attached before the poller sees it: a descriptor
	// without a device always polls as an error.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("tun %s: /dev/net/tun: %w", name, err)
	}
	if err := attach(fd, name); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tun %s: %w", name, err)
	}
	t := &tun{name: name, file: os.NewFile(uintptr(fd), name)}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		t.file.Close()
		return nil, fmt.Errorf("tun %s: %w", name, err)
	}
	t.readFD = t.readAvailable
	return t, nil
}

func attach(fd int, name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(tunFlags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("attach (TUNSETIFF): %w", err)
	}
	// The device may have gone since it was looked up, so that attaching has
	// made a new one, which goes away with the descriptor.
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, request); err != nil {
		return fmt.Errorf("read flags (TUNGETIFF): %w", err)
	}
	if request.Uint16()&unix.IFF_PERSIST == 0 {
		return fmt.Errorf("not persistent: %w", unix.ENODEV)
	}
	// Offloads outlive their holder. Without a vnet header in front of the
	// packets they would arrive unsegmented and without checksums.
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0); err != nil {
		return fmt.Errorf("turn offloads off (TUNSETOFFLOAD): %w", err)
	}
	return nil
}

func (t *tun) Name() string { return t.name }

func (t *tun) Read(packets [][]byte) (int, error) {
	t.into, t.n, t.err = packets, 0, nil
	err := t.raw.Read(t.readFD)
	if err == nil {
		err = t.err
	}
	if t.n > 0 {
		return t.n, nil // an error, being final, comes again
	}
	return 0, t.explain(err)
}

// readAvailable reads what is there. False makes the poller wait for more.
func (t *tun) readAvailable(fd uintptr) bool {
	for t.n < len(t.into) {
		buffer := t.into[t.n][:cap(t.into[t.n])]
		n, err := unix.Read(int(fd), buffer)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return t.n > 0
		case err != nil:
			t.err = err
			return true
		}
		t.into[t.n] = buffer[:n]
		t.n++
	}
	return true
}

func (t *tun) Write(packets [][]byte) (int, error) {
	for i, packet := range packets {
		if _, err := t.file.Write(packet); err != nil {
			return i, t.explain(err)
		}
	}
	return len(packets), nil
}

func (t *tun) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	return t.file.Close()
}

// explain turns the poller's own error for a closed file into the one that
// the interface promises.
func (t *tun) explain(err error) error {
	if t.closed.Load() {
		return net.ErrClosed
	}
	return err
}
