package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/schema"
)

// host looks at the pods of this host.
type host struct {
	enter func(netns string, fn func() error) error
	gates chan struct{} // one for each thread that may be in a namespace
	// commands says that those of exec probes may run.
	commands bool
}

// errNoCommands is why an exec probe does not succeed.
var errNoCommands = errors.New("this node runs no commands out of documents: `poplin run --exec-probes` does")

// maxThreads is how many threads are in pods' namespaces at one time. They
// stay only for as long as it takes to open a socket or to start a command.
const maxThreads = 8

func newHost(enter func(netns string, fn func() error) error) *host {
	return &host{enter: enter, gates: make(chan struct{}, maxThreads)}
}

// in runs fn in a pod's network namespace.
func (h *host) in(pod Pod, fn func() error) error {
	if pod.Netns == "" {
		return fn()
	}
	h.gates <- struct{}{}
	defer func() { <-h.gates }()
	return h.enter(pod.Netns, fn)
}

// probe implements looker.
func (h *host) probe(ctx context.Context, pod Pod, p schema.Probe) error {
	switch {
	case p.Exec != nil && !h.commands:
		return errNoCommands
	case p.Exec != nil:
		return h.run(ctx, pod, p.Exec)
	case p.HTTP != nil:
		return h.get(ctx, pod, *p.HTTP)
	case p.TCP != nil:
		at, err := address(pod, p.TCP.Host, p.TCP.Port)
		if err != nil {
			return err
		}
		c, err := h.connect(ctx, pod, at)
		if err != nil {
			return err
		}
		return c.Close()
	}
	return errors.New("nothing to look at")
}

// address is where a probe goes.
func address(pod Pod, at netip.Addr, port uint16) (netip.AddrPort, error) {
	if !at.IsValid() {
		if len(pod.Addresses) == 0 {
			return netip.AddrPort{}, errors.New("the pod has no address")
		}
		at = pod.Addresses[0]
	}
	return netip.AddrPortFrom(at, port), nil
}

// listeners implements looker.
func (h *host) listeners(pod Pod) (listeners, error) {
	var out listeners
	err := h.in(pod, func() error {
		link := linkWith(pod.Addresses)
		if link == 0 && pod.Netns != "" {
			return errors.New("the pod's address is not on a link yet")
		}
		d, err := openDiag(link)
		if errors.Is(err, errNoDiag) {
			out = blind{}
			return nil
		}
		out = d
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// linkWith is the index of the link in the calling thread's namespace that
// has one of the addresses, or 0. Loopback is 0 too: nothing comes in by it.
func linkWith(addresses []netip.Addr) int {
	links, err := net.Interfaces()
	if err != nil {
		return 0
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback != 0 {
			continue
		}
		on, err := l.Addrs()
		if err != nil {
			continue
		}
		for _, a := range on {
			p, err := netip.ParsePrefix(a.String())
			for _, want := range addresses {
				if err == nil && p.Addr() == want {
					return l.Index
				}
			}
		}
	}
	return 0
}

// blind stands for listeners that cannot be seen: all are taken to be there.
type blind struct{}

func (blind) missing([]netip.Addr, []uint16) ([]uint16, error) { return nil, nil }
func (blind) Close() error                                     { return nil }

// connect opens a TCP connection from inside a pod's namespace. Only the
// socket is made in there: it belongs to the namespace, and no thread has to
// stay there to wait.
func (h *host) connect(ctx context.Context, pod Pod, to netip.AddrPort) (net.Conn, error) {
	c, err := h.dial(ctx, pod, to)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", to, err)
	}
	return c, nil
}

func (h *host) dial(ctx context.Context, pod Pod, to netip.AddrPort) (net.Conn, error) {
	family, peer := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, peer = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd := -1
	if err := h.in(pod, func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	}); err != nil {
		return nil, err
	}
	// The file polls, since the descriptor is non-blocking. It comes after
	// connect(2): a socket that was never connected polls as hung up.
	err := unix.Connect(fd, peer)
	file := os.NewFile(uintptr(fd), "probe")
	defer file.Close()
	if errors.Is(err, unix.EINPROGRESS) {
		err = awaitConnect(ctx, file)
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

// awaitConnect waits until a connection is there or has failed.
func awaitConnect(ctx context.Context, file *os.File) error {
	defer context.AfterFunc(ctx, func() { _ = file.SetDeadline(time.Unix(1, 0)) })()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var outcome error
	err = raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		if err == nil {
			_, err = unix.Getpeername(int(fd))
		}
		outcome = err
		return !errors.Is(err, unix.ENOTCONN)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, outcome)
}
