package health

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Numbers of linux/sock_diag.h, linux/inet_diag.h and net/tcp_states.h.
const (
	sockDiagByFamily = 20
	tcpListen        = 10
	diagRequest      = 56 // bytes of struct inet_diag_req_v2
)

// errNoDiag says that a kernel has no inet_diag (CONFIG_INET_DIAG).
var errNoDiag = errors.New("the kernel has no inet_diag")

// diag asks the kernel about sockets of one network namespace: the one of the
// thread that opened it, wherever it is used. It is not safe for concurrent
// use.
type diag struct {
	fd     int
	device uint32 // index of the link that connections come in by
	seq    uint32
	buffer [4096]byte // of the answer; of a long one, its beginning
}

// openDiag opens a diag for the calling thread's namespace. Sockets that are
// bound to the link with the given index are seen, 0 for none.
func openDiag(device int) (*diag, error) {
	if err := checkDiag(); err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	d, err := newDiag(device)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	return d, nil
}

func newDiag(device int) (*diag, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The kernel answers within the call that asks. Should it not, nobody
	// waits for ever.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return &diag{fd: fd, device: uint32(device)}, nil
}

// checkDiag asks for all listeners, to tell a kernel without inet_diag, which
// has the same answer to a question for one as when there is none. The first
// message of the answer is enough, and the rest goes with the socket.
func checkDiag() error {
	d, err := newDiag(0)
	if err != nil {
		return err
	}
	defer d.Close()
	kind, payload, err := d.ask(d.request(netip.AddrFrom4([4]byte{}), 0, unix.NLM_F_DUMP))
	if err == nil && (kind == unix.NLMSG_ERROR || kind == unix.NLMSG_DONE) {
		err = errorOf(payload)
	}
	if errors.Is(err, unix.ENOENT) {
		return errNoDiag
	}
	return err
}

// Close closes the socket, which lets go of the namespace.
func (d *diag) Close() error { return unix.Close(d.fd) }

// missing implements listeners: a port is there if a connection to it at one
// of the addresses would be accepted.
func (d *diag) missing(addresses []netip.Addr, ports []uint16) ([]uint16, error) {
	var out []uint16
	for _, port := range ports {
		found := false
		for _, a := range addresses {
			ok, err := d.listens(a, port)
			if err != nil {
				return nil, err
			}
			if found = ok; found {
				break
			}
		}
		if !found {
			out = append(out, port)
		}
	}
	return out, nil
}

// listens asks for the socket that a connection to an address and port would
// meet: the kernel looks it up as it does for a packet, in constant time and
// dual-stack sockets included (inet_diag_find_one_icsk in
// net/ipv4/inet_diag.c).
func (d *diag) listens(a netip.Addr, port uint16) (bool, error) {
	kind, payload, err := d.ask(d.request(a, port, 0))
	if err != nil {
		return false, err
	}
	if kind == unix.NLMSG_ERROR {
		if err := errorOf(payload); !errors.Is(err, unix.ENOENT) {
			return false, err
		}
		return false, nil
	}
	return kind == sockDiagByFamily && len(payload) > 1 && payload[1] == tcpListen, nil
}

// request makes an inet_diag request with its header. Addresses and ports are
// in network byte order, all else in that of the host.
func (d *diag) request(local netip.Addr, port uint16, flags uint16) []byte {
	d.seq++
	h := binary.NativeEndian
	b := make([]byte, 0, unix.NLMSG_HDRLEN+diagRequest)
	b = h.AppendUint32(b, uint32(cap(b)))
	b = h.AppendUint16(b, sockDiagByFamily)
	b = h.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = h.AppendUint32(b, d.seq)
	b = h.AppendUint32(b, 0)
	family := byte(unix.AF_INET)
	if local.Is6() {
		family = unix.AF_INET6
	}
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = h.AppendUint32(b, 1<<tcpListen)
	b = binary.BigEndian.AppendUint16(b, port) // idiag_sport
	b = append(b, 0, 0)                        // idiag_dport
	var source [16]byte
	copy(source[:], local.AsSlice())
	b = append(b, source[:]...)
	b = append(b, make([]byte, 16)...) // idiag_dst
	b = h.AppendUint32(b, d.device)
	// INET_DIAG_NOCOOKIE, twice.
	b = h.AppendUint32(b, ^uint32(0))
	return h.AppendUint32(b, ^uint32(0))
}

// ask sends a request and returns the first message of the answer, which is
// there until the next question.
func (d *diag) ask(request []byte) (kind uint16, payload []byte, err error) {
	if err := unix.Sendto(d.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, nil, os.NewSyscallError("sendto", err)
	}
	b := d.buffer[:]
	n, _, err := unix.Recvfrom(d.fd, b, 0)
	for errors.Is(err, unix.EINTR) {
		n, _, err = unix.Recvfrom(d.fd, b, 0)
	}
	if err != nil {
		return 0, nil, os.NewSyscallError("recvfrom", err)
	}
	if n < unix.NLMSG_HDRLEN {
		return 0, nil, errors.New("a message without header")
	}
	h := binary.NativeEndian
	if h.Uint32(b[8:]) != d.seq {
		return 0, nil, errors.New("an answer to another question")
	}
	return h.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:n], nil
}

// errorOf is the error that a message of kind NLMSG_ERROR or NLMSG_DONE has.
func errorOf(payload []byte) error {
	if len(payload) < 4 {
		return errors.New("a truncated answer")
	}
	if code := int32(binary.NativeEndian.Uint32(payload)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
