package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The sizes of headers in bytes, and the ICMP types of questions and answers
// (RFC 792, RFC 4443).
const (
	header4, header6   = 20, 40
	headerICMP         = 8
	echo4, answer4     = 8, 0
	echo6, answer6     = 128, 129
	smallest           = headerICMP + 8 // of an ICMP message with its cookie
	maxAnswer          = 64 << 10
	dontFragmentAtAll4 = unix.IP_PMTUDISC_PROBE // sets DF and ignores what was learnt of the path
	dontFragmentAtAll6 = unix.IPV6_PMTUDISC_PROBE
)

// socket sends and receives ICMP messages of one family.
type socket struct {
	conn *net.IPConn
	v6   bool
}

func openSocket(v6 bool) (*socket, error) {
	network, level, option, value := "ip4:icmp", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, dontFragmentAtAll4
	if v6 {
		network, level, option, value = "ip6:ipv6-icmp", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, dontFragmentAtAll6
	}
	conn, err := net.ListenIP(network, nil)
	if err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var optionErr error
		err = raw.Control(func(fd uintptr) { optionErr = unix.SetsockoptInt(int(fd), level, option, value) })
		err = errors.Join(err, optionErr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("probes: %w", err), conn.Close())
	}
	return &socket{conn, v6}, nil
}

// send asks an address with a packet of a size, IP header included. The cookie
// comes back with the answer.
func (s *socket) send(to netip.Addr, size int, cookie uint64) error {
	message := make([]byte, max(size-s.header(), smallest))
	message[0] = echo4
	if s.v6 {
		message[0] = echo6 // the kernel fills in the checksum
	}
	binary.BigEndian.PutUint64(message[headerICMP:], cookie)
	if !s.v6 {
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	_, err := s.conn.WriteToIP(message, &net.IPAddr{IP: to.AsSlice()})
	return err
}

// receive waits for an answer and returns its cookie.
func (s *socket) receive(buf []byte) (uint64, error) {
	answer := byte(answer4)
	if s.v6 {
		answer = answer6
	}
	for {
		n, _, err := s.conn.ReadFromIP(buf)
		if err != nil {
			return 0, err
		}
		if n >= smallest && buf[0] == answer {
			return binary.BigEndian.Uint64(buf[headerICMP:]), nil
		}
	}
}

func (s *socket) header() int {
	if s.v6 {
		return header6
	}
	return header4
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
