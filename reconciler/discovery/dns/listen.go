package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// socketBuffer is the size in bytes of the receive buffer that a socket gets,
// as far as the kernel lets us: room for some thousand queries.
const socketBuffer = 2 << 20

// listener is one address with all its sockets.
type listener struct {
	address netip.AddrPort
	udp     []*socket
	tcp     *net.TCPListener
}

// listeners are those that are open, and what hinders the others.
type listeners struct {
	mu     sync.Mutex
	open   []*listener
	failed []ListenerStats
}

// listen opens and closes so that these addresses are listened on, and
// reports whether all are.
func (s *Server) listen(want []netip.AddrPort) bool {
	l := s.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = slices.DeleteFunc(l.open, func(one *listener) bool {
		if slices.Contains(want, one.address) && !one.broken() {
			return false
		}
		one.close()
		s.log.Info("DNS listens no more", "address", one.address)
		return true
	})
	before := l.failed
	l.failed = nil
	for _, a := range want {
		if slices.ContainsFunc(l.open, func(one *listener) bool { return one.address == a }) {
			continue
		}
		one, err := openListener(a, len(s.counters)-1)
		if err != nil {
			failed := ListenerStats{a, err.Error()}
			if !slices.Contains(before, failed) {
				s.log.Warn("DNS does not listen", "address", a, "error", err)
			}
			l.failed = append(l.failed, failed)
			continue
		}
		l.open = append(l.open, one)
		s.serve(one)
		s.log.Info("DNS listens", "address", a)
	}
	return len(l.failed) == 0
}

// serve starts what answers at an address.
func (s *Server) serve(l *listener) {
	for i, one := range l.udp {
		w := &worker{Server: s, count: &s.counters[i]}
		s.group.Go(func() { w.serveDatagrams(one) })
	}
	s.group.Go(func() { s.serveConnections(l.tcp) })
}

func (l *listeners) stats() []ListenerStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]ListenerStats, 0, len(l.open)+len(l.failed))
	for _, one := range l.open {
		out = append(out, ListenerStats{Address: one.address})
	}
	return append(out, l.failed...)
}

func (l *listeners) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.open {
		one.close()
	}
	l.open = nil
}

var errUnspecified = errors.New("an address of this host is needed, so that answers come from it")

// openListener opens all sockets of an address, or none.
func openListener(a netip.AddrPort, sockets int) (*listener, error) {
	if !a.Addr().IsValid() || a.Addr().IsUnspecified() {
		return nil, errUnspecified
	}
	family := "6"
	if a.Addr().Is4() {
		family = "4"
	}
	l := &listener{address: a}
	config := net.ListenConfig{Control: control(func(fd int) error { return prepare(fd, family == "4") })}
	tcp, err := config.Listen(context.Background(), "tcp"+family, a.String())
	if err != nil {
		return nil, err
	}
	l.tcp = tcp.(*net.TCPListener)
	shared := net.ListenConfig{Control: control(func(fd int) error { return prepareShared(fd, family == "4") })}
	for range sockets {
		packets, err := shared.ListenPacket(context.Background(), "udp"+family, a.String())
		if err != nil {
			l.close()
			return nil, err
		}
		one, err := newSocket(packets.(*net.UDPConn), a.Addr())
		if err != nil {
			packets.Close()
			l.close()
			return nil, err
		}
		l.udp = append(l.udp, one)
	}
	return l, nil
}

func (l *listener) close() {
	l.tcp.Close()
	for _, one := range l.udp {
		one.conn.Close()
	}
}

// broken reports whether a socket has failed.
func (l *listener) broken() bool {
	return slices.ContainsFunc(l.udp, func(one *socket) bool { return one.failed.Load() })
}

// prepare lets a socket bind to an address that is not there yet.
func prepare(fd int, ipv4 bool) error {
	level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
	if !ipv4 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return fmt.Errorf("IP_FREEBIND: %w", err)
	}
	return nil
}

// prepareShared lets several UDP sockets share an address, the kernel
// spreading clients over them. The path MTU is not looked at: whoever forges
// ICMP errors must not make us send fragments.
func prepareShared(fd int, ipv4 bool) error {
	if err := prepare(fd, ipv4); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("SO_REUSEPORT: %w", err)
	}
	level, option, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT
	if !ipv4 {
		level, option, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT
	}
	if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
		return fmt.Errorf("IP_MTU_DISCOVER: %w", err)
	}
	// In user namespaces the limit of the system holds; a small buffer is no failure.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	}
	return nil
}
