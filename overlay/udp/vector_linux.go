package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

// vector holds the arguments of recvmmsg or sendmmsg, made once. (The
// batches of golang.org/x/net allocate an address for each datagram.)
type vector struct {
	messages []message
	data     []unix.Iovec
	// addresses are large enough for either family, and used as both.
	addresses []unix.RawSockaddrInet6

	want, done int // messages of the call under way
	errno      unix.Errno
}

func newVector() *vector {
	v := &vector{
		messages:  make([]message, batchSize),
		data:      make([]unix.Iovec, batchSize),
		addresses: make([]unix.RawSockaddrInet6, batchSize),
	}
	for i := range v.messages {
		h := &v.messages[i].header
		h.Name = (*byte)(unsafe.Pointer(&v.addresses[i]))
		h.Iov = &v.data[i]
		h.SetIovlen(1)
	}
	return v
}

func (v *vector) prepareRead(batch []Datagram) {
	v.want, v.done, v.errno = min(len(batch), len(v.messages)), 0, 0
	for i, d := range batch[:v.want] {
		v.data[i].Base = unsafe.SliceData(d.Data)
		v.data[i].SetLen(cap(d.Data))
		v.messages[i].header.Namelen = unix.SizeofSockaddrInet6
	}
}

func (v *vector) finishRead(batch []Datagram) {
	for i := range v.done {
		batch[i].Data = batch[i].Data[:v.messages[i].length]
		batch[i].Addr = v.address(i)
	}
}

// prepareWrite takes over the longest start of the batch that the socket's
// family can send, and reports whether there is one.
func (v *vector) prepareWrite(batch []Datagram, ipv4 bool) bool {
	v.want, v.done, v.errno = 0, 0, 0
	for i, d := range batch[:min(len(batch), len(v.messages))] {
		if d.Addr.Addr().Is4() != ipv4 {
			break
		}
		v.data[i].Base = unsafe.SliceData(d.Data)
		v.data[i].SetLen(len(d.Data))
		v.setAddress(i, d.Addr)
		v.want++
	}
	return v.want > 0
}

// receive is one recvmmsg. False makes the poller wait for a datagram.
func (v *vector) receive(fd uintptr) bool {
	n, errno := v.call(unix.SYS_RECVMMSG, fd)
	if errno == unix.EAGAIN {
		return false
	}
	v.done, v.errno = n, errno
	return true
}

// transmit sends until all is sent or something is refused. False makes the
// poller wait for room.
func (v *vector) transmit(fd uintptr) bool {
	for v.done < v.want {
		// The kernel stops at the first message that it cannot send, and says
		// why only if it is asked to send that one first.
		n, errno := v.call(unix.SYS_SENDMMSG, fd)
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno != 0:
			v.errno = errno
			return true
		}
		v.done += n
	}
	return true
}

// call handles the messages that are not done yet.
func (v *vector) call(trap, fd uintptr) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(trap, fd,
			uintptr(unsafe.Pointer(&v.messages[v.done])), uintptr(v.want-v.done), 0, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// address reads the i-th address. Sockets are of one family (IPv6 ones are
// IPv6 only), so none is mapped.
func (v *vector) address(i int) netip.AddrPort {
	a := &v.addresses[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&a.Port))[:])
	if a.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), port)
}

func (v *vector) setAddress(i int, to netip.AddrPort) {
	a, h := &v.addresses[i], &v.messages[i].header
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&a.Port))[:], to.Port())
	if to.Addr().Is4() {
		a.Family, h.Namelen = unix.AF_INET, unix.SizeofSockaddrInet4
		(*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr = to.Addr().As4()
		return
	}
	a.Family, h.Namelen = unix.AF_INET6, unix.SizeofSockaddrInet6
	a.Flowinfo, a.Addr, a.Scope_id = 0, to.Addr().As16(), 0
}
