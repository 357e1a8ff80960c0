package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketBuffer is the size in bytes that both buffers of a socket get, as far
// as the kernel lets us. It holds about 4 ms of packets at 10 Gbit/s.
const socketBuffer = 7 << 20

// socket is a UDP socket of one family.
type socket struct {
	conn     *net.UDPConn
	raw      syscall.RawConn
	local    netip.AddrPort
	in, out  *vector
	receive  func(fd uintptr) bool // of in, bound once: reading allocates nothing
	transmit func(fd uintptr) bool // of out
}

// Listen opens a UDP socket at the address, in the network namespace of the
// calling thread. It carries the family of the address only.
//
// Over IPv4, datagrams are sent without DF: packets are sized by the route's
// mtu, and where the path is narrower than it says, fragments are slow but
// arrive, until the mtu is mended. (flannel leaves the kernel's default, which
// sets DF and believes the ICMP errors of anyone.) Over IPv6, where routers
// do not fragment, the kernel's default does the same at the sender.
func Listen(local netip.AddrPort) (Conn, error) {
	network := "udp6" // IPv6 only
	if local.Addr().Unmap().Is4() {
		network = "udp4"
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = prepare(int(fd), network == "udp4") }), err)
	}}
	packets, err := config.ListenPacket(context.Background(), network, local.String())
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", local, err)
	}
	s := &socket{conn: packets.(*net.UDPConn), in: newVector(), out: newVector()}
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("socket %s: %w", local, err)
	}
	bound := s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s.local = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	s.receive, s.transmit = s.in.receive, s.out.transmit
	return s, nil
}

func prepare(fd int, ipv4 bool) error {
	grow(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	grow(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	if !ipv4 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
		return fmt.Errorf("IP_MTU_DISCOVER: %w", err)
	}
	return nil
}

// grow enlarges a buffer beyond the system's limit, or up to it where that is
// not allowed (in user namespaces). A small buffer is no failure.
func grow(fd, force, plain int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, socketBuffer)
	}
}

func (s *socket) Local() netip.AddrPort { return s.local }

func (s *socket) Read(batch []Datagram) (int, error) {
	s.in.prepareRead(batch)
	if err := s.raw.Read(s.receive); err != nil {
		return 0, err
	}
	if s.in.errno != 0 {
		return 0, s.in.errno
	}
	s.in.finishRead(batch)
	return s.in.done, nil
}

func (s *socket) Write(batch []Datagram) (int, error) {
	sent := 0
	for sent < len(batch) {
		if !s.out.prepareWrite(batch[sent:], s.local.Addr().Is4()) {
			return sent, unix.EAFNOSUPPORT
		}
		if err := s.raw.Write(s.transmit); err != nil {
			return sent + s.out.done, err
		}
		sent += s.out.done
		if s.out.errno != 0 {
			return sent, s.out.errno
		}
	}
	return sent, nil
}

func (s *socket) Close() error {
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("socket %s: %w", s.local, err)
	}
	return nil
}
