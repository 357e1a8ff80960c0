package udp

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// socketBuffer is the size in bytes that both buffers of a socket get, as
	// far as the kernel lets us. It holds about 4 ms of packets at 10 Gbit/s.
	socketBuffer = 7 << 20
	// sourcePorts is how many sockets are sent from.
	sourcePorts = 4

	udpGRO     = 104 // UDP_GRO (include/uapi/linux/udp.h)
	udpSegment = 103 // UDP_SEGMENT
)

// sockets are UDP sockets of one family: a lane has one to receive from, all
// at one address and port, among which the kernel chooses by the addresses and
// ports of a datagram. Further ones only send.
type sockets struct {
	local netip.AddrPort
	*descriptors
	lanes    []socketLane
	senders  []int // descriptors
	rungs    Rungs
	segments atomic.Bool // GSO works
}

type socketLane struct {
	empty bool // nothing was left when it was last read
	fd    int
	in    *receiver
	out   *sender
	spin  *spinner
}

// Listen opens UDP sockets at the address, in the network namespace of the
// calling thread. They carry the family of the address only. Of the rungs it
// uses those that the kernel has.
//
// Over IPv4, datagrams are sent without DF: packets are sized by the route's
// mtu, and where the path is narrower than it says, fragments are slow but
// arrive, until the mtu is mended. (flannel leaves the kernel's default, which
// sets DF and believes the ICMP errors of anyone.) Over IPv6, where routers
// do not fragment, the kernel's default does the same at the sender.
func Listen(local netip.AddrPort, o Tuning) (Conn, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	d, err := newDescriptors(o)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", local, err)
	}
	s := newSockets(local, d, o)
	if err := s.open(nil, o); err != nil {
		s.close()
		return nil, fmt.Errorf("socket %s: %w", local, err)
	}
	return s, nil
}

func newSockets(local netip.AddrPort, d *descriptors, o Tuning) *sockets {
	return &sockets{local: local, descriptors: d, rungs: o.usable() & (GSO | GRO | Batch | Lanes | Ports | Spin)}
}

// open opens what was not inherited.
func (s *sockets) open(inherited []int, o Tuning) error {
	for i, spin := range o.spinners() {
		fd, err := s.lane(inherited, i)
		if err != nil {
			return err
		}
		if i == 0 {
			if s.local, err = boundTo(fd); err != nil {
				return err
			}
			s.probe(fd)
		}
		// Of the first one only now, so that it does not share its port with
		// somebody else's.
		if err := share(fd, o.lanes() > 1); err != nil {
			return err
		}
		if err := s.setGRO(fd, len(inherited) > 0); err != nil {
			return err
		}
		s.lanes = append(s.lanes, socketLane{fd: fd, in: newReceiver(s.rungs), out: newSender(s.rungs), spin: spin})
	}
	s.senders = []int{s.lanes[0].fd}
	for len(s.senders) < sourcePorts && s.rungs.Has(Ports) {
		fd, err := s.bind(netip.AddrPortFrom(s.local.Addr(), 0), false)
		if err != nil {
			return err
		}
		s.senders = append(s.senders, fd)
	}
	return nil
}

// lane gives the socket of a lane: an inherited one or a new one.
func (s *sockets) lane(inherited []int, i int) (int, error) {
	if len(inherited) > 0 {
		return inherited[i], s.configure(inherited[i])
	}
	return s.bind(s.local, i > 0)
}

// setGRO turns UDP_GRO on where it is used, and off where a former process
// may have used it.
func (s *sockets) setGRO(fd int, inherited bool) error {
	value := 0
	switch {
	case s.rungs.Has(GRO):
		value = 1
	case !inherited:
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, udpGRO, value); err != nil && value == 1 {
		return fmt.Errorf("UDP_GRO: %w", err)
	}
	return nil
}

// probe finds out which rungs the kernel has.
func (s *sockets) probe(fd int) {
	if unix.SetsockoptInt(fd, unix.IPPROTO_UDP, udpSegment, 0) != nil {
		s.rungs &^= GSO
	}
	if s.rungs.Has(GRO) && unix.SetsockoptInt(fd, unix.IPPROTO_UDP, udpGRO, 1) != nil {
		s.rungs &^= GRO
	}
	s.segments.Store(s.rungs.Has(GSO))
}

// bind opens a socket.
func (s *sockets) bind(local netip.AddrPort, shared bool) (int, error) {
	family := unix.AF_INET6
	if local.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	s.list = append(s.list, fd)
	if err := s.configure(fd); err != nil {
		return 0, err
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return 0, fmt.Errorf("IPV6_V6ONLY: %w", err)
		}
	}
	if err := share(fd, shared); err != nil {
		return 0, err
	}
	var address unix.Sockaddr = &unix.SockaddrInet6{Port: int(local.Port()), Addr: local.Addr().As16()}
	if family == unix.AF_INET {
		address = &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()}
	}
	if err := unix.Bind(fd, address); err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	return fd, nil
}

// configure sets what can be set of a socket at any time.
func (s *sockets) configure(fd int) error {
	grow(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	grow(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	if !s.local.Addr().Is4() {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
		return fmt.Errorf("IP_MTU_DISCOVER: %w", err)
	}
	return nil
}

// share lets other sockets have the same address and port.
func share(fd int, shared bool) error {
	if !shared {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("SO_REUSEPORT: %w", err)
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

func boundTo(fd int) (netip.AddrPort, error) {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if a, ok := address.(*unix.SockaddrInet4); ok {
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	}
	a := address.(*unix.SockaddrInet6)
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), nil
}

func (s *sockets) Local() netip.AddrPort { return s.local }
func (s *sockets) Lanes() int            { return len(s.lanes) }

// Rungs are those in use now.
func (s *sockets) Rungs() Rungs {
	if !s.segments.Load() {
		return s.rungs &^ GSO
	}
	return s.rungs
}

func (s *sockets) Read(lane int, batch []Datagram) (int, error) {
	if !s.enterRead() {
		return 0, net.ErrClosed
	}
	defer s.leave()
	l := &s.lanes[lane]
	if l.empty && !l.spin.again() {
		if err := s.await(l.fd, unix.POLLIN); err != nil {
			return 0, err
		}
	}
	for {
		n, errno := l.in.receive(l.fd, batch)
		switch errno {
		case 0:
			l.spin.found()
			l.empty = n < l.in.most(batch)
			return n, nil
		case unix.EAGAIN:
			if l.spin.again() {
				continue
			}
			if err := s.await(l.fd, unix.POLLIN); err != nil {
				return 0, err
			}
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

func (s *sockets) Write(lane int, batch []Datagram) (int, error) {
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.leave()
	s.lanes[lane].spin.sent()
	out := s.lanes[lane].out
	for done := 0; done < len(batch); {
		// Datagrams that are sent from one port go together.
		port, n := int(batch[done].Flow)%len(s.senders), 1
		for done+n < len(batch) && int(batch[done+n].Flow)%len(s.senders) == port {
			n++
		}
		sent, err := s.send(out, s.senders[port], batch[done:done+n])
		done += sent
		if err != nil {
			return done, err
		}
	}
	return len(batch), nil
}

// send sends datagrams through a socket.
func (s *sockets) send(out *sender, fd int, batch []Datagram) (int, error) {
	whole := s.segments.Load()
	for done := 0; done < len(batch); {
		sent, errno := out.send(fd, batch[done:], s.local.Addr().Is4(), whole)
		done += sent
		segmented := whole && done < len(batch) && batch[done].Segment > 0
		switch {
		case errno == 0:
			whole = s.segments.Load()
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			if err := s.await(fd, unix.POLLOUT); err != nil {
				return done, err
			}
		case segmented && errno == unix.EIO:
			s.segments.Store(false) // the network card cannot (net/ipv4/udp.c)
			whole = false
		case segmented && (errno == unix.EINVAL || errno == unix.EMSGSIZE):
			// Larger than the path: single datagrams are fragmented.
			whole = false
		default:
			out.skip()
			return done, errno
		}
	}
	return len(batch), nil
}

func (s *sockets) Close() error {
	s.close()
	return nil
}
