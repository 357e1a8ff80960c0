//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// maxDatagram is more than any datagram has (bytes).
const maxDatagram = 1 << 16

// serveTCP answers HTTP requests on all addresses of the calling thread's
// namespace.
func serveTCP(e endpoint) (io.Closer, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", e.port))
	if err != nil {
		return nil, err
	}
	return serveHTTP(e, listener), nil
}

// serveSCTP does the same over one-to-one style SCTP sockets (RFC 6458,
// section 4), which are used as TCP's are.
func serveSCTP(e endpoint) (io.Closer, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_SCTP)
	if err != nil {
		return nil, fmt.Errorf("SCTP socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "sctp")
	defer file.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: int(e.port)}); err != nil {
		return nil, fmt.Errorf("SCTP bind: %w", err)
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, fmt.Errorf("SCTP listen: %w", err)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("SCTP listener: %w", err)
	}
	return serveHTTP(e, listener), nil
}

// serveHTTP answers until it is closed, which ends its connections too.
func serveHTTP(e endpoint, listener net.Listener) io.Closer {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			_, _ = io.WriteString(w, e.answer(clientText(from.Addr()))) // a client that has gone is no concern
		}
	})}
	go func() { _ = server.Serve(listener) }() // returns when it is closed
	return server
}

func clientText(a netip.Addr) string { return a.Unmap().WithZone("").String() }

// serveUDP answers datagrams from the address that they were sent to: one
// socket per family, since each has its own way of telling that address.
func serveUDP(e endpoint) (io.Closer, error) {
	v4, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(e.port)})
	if err != nil {
		return nil, err
	}
	v6, err := net.ListenUDP("udp6", &net.UDPAddr{Port: int(e.port)})
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		v4.Close()
		return nil, err
	}
	if err := answerUDP(e, v4, v6); err != nil {
		v4.Close()
		v6.Close()
		return nil, err
	}
	return closers{v4, v6}, nil
}

func answerUDP(e endpoint, v4, v6 *net.UDPConn) error {
	p4 := ipv4.NewPacketConn(v4)
	if err := p4.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	go echo(e, func(b []byte) (net.Addr, func([]byte), error) {
		_, to, from, err := p4.ReadFrom(b)
		return from, func(answer []byte) {
			_, _ = p4.WriteTo(answer, &ipv4.ControlMessage{Src: to.Dst}, from) // as UDP is
		}, err
	})
	if v6 == nil {
		return nil
	}
	p6 := ipv6.NewPacketConn(v6)
	if err := p6.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return err
	}
	go echo(e, func(b []byte) (net.Addr, func([]byte), error) {
		_, to, from, err := p6.ReadFrom(b)
		return from, func(answer []byte) {
			_, _ = p6.WriteTo(answer, &ipv6.ControlMessage{Src: to.Dst}, from)
		}, err
	})
	return nil
}

// echo answers until the socket is closed.
func echo(e endpoint, receive func([]byte) (net.Addr, func([]byte), error)) {
	b := make([]byte, maxDatagram)
	for {
		from, reply, err := receive(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Other errors are those of answers that were refused by a client.
		if peer, ok := from.(*net.UDPAddr); ok && err == nil {
			reply([]byte(e.answer(clientText(peer.AddrPort().Addr()))))
		}
	}
}

// closers are closed as one.
type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, one := range c {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}
