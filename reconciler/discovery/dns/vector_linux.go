package dns

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of a batch.
const (
	batchSize = 64
	querySize = 1280 // bytes; we say that we take preferredSize
)

// message is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

// vector holds the arguments of recvmmsg and sendmmsg and all buffers, made
// once. (The batches of golang.org/x/net allocate an address for each
// datagram.)
type vector struct {
	in, out         []message
	inData, outData []unix.Iovec
	// addresses are those of clients, large enough for either family.
	addresses []unix.RawSockaddrInet6
	queries   []byte
	answers   []byte

	received     int
	queued, sent int
	errno        unix.Errno
}

func newVector() *vector {
	v := &vector{
		in: make([]message, batchSize), out: make([]message, batchSize),
		inData: make([]unix.Iovec, batchSize), outData: make([]unix.Iovec, batchSize),
		addresses: make([]unix.RawSockaddrInet6, batchSize),
		queries:   make([]byte, batchSize*querySize),
		answers:   make([]byte, batchSize*greatestSize),
	}
	for i := range v.in {
		v.inData[i].Base = &v.queries[i*querySize]
		v.inData[i].SetLen(querySize)
		in, out := &v.in[i].header, &v.out[i].header
		in.Name = (*byte)(unsafe.Pointer(&v.addresses[i]))
		in.Namelen = unix.SizeofSockaddrInet6
		in.Iov, out.Iov = &v.inData[i], &v.outData[i]
		in.SetIovlen(1)
		out.SetIovlen(1)
	}
	return v
}

// receive is one recvmmsg. False makes the poller wait for a datagram.
func (v *vector) receive(fd uintptr) bool {
	for i := range v.received {
		v.in[i].header.Namelen = unix.SizeofSockaddrInet6
	}
	v.queued, v.sent = 0, 0
	n, errno := call(unix.SYS_RECVMMSG, fd, v.in)
	if errno == unix.EAGAIN {
		return false
	}
	v.received, v.errno = n, errno
	return true
}

// transmit sends what is queued. What the kernel refuses is passed over.
// False makes the poller wait for room.
func (v *vector) transmit(fd uintptr) bool {
	for v.sent < v.queued {
		n, errno := call(unix.SYS_SENDMMSG, fd, v.out[v.sent:v.queued])
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno != 0:
			n = 1 // the first one of those is why
		}
		v.sent += n
	}
	return true
}

func call(trap, fd uintptr, messages []message) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// query is the i-th datagram, and whether all of it was received.
func (v *vector) query(i int) (data []byte, whole bool) {
	return v.queries[i*querySize:][:v.in[i].length], v.in[i].header.Flags&unix.MSG_TRUNC == 0
}

// client is who sent the i-th datagram. Sockets are of one family (IPv6 ones
// are IPv6 only), so no address is mapped.
func (v *vector) client(i int) netip.AddrPort {
	a := &v.addresses[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&a.Port))[:])
	if a.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), port)
}

// way is where an answer to the i-th datagram goes that is not queued: the
// client with the link that it is on, if its address counts there only.
func (v *vector) way(i int) netip.AddrPort {
	client := v.client(i)
	if link := v.addresses[i].Scope_id; client.Addr().Is6() && link != 0 {
		return netip.AddrPortFrom(client.Addr().WithZone(strconv.Itoa(int(link))), client.Port())
	}
	return client
}

// buffer is where the answer to the i-th datagram may be made.
func (v *vector) buffer(i int) []byte { return v.answers[i*greatestSize:][:0:greatestSize] }

// queue sends an answer to who sent the i-th datagram, with the next
// transmit.
func (v *vector) queue(i int, answer []byte) {
	v.outData[v.queued].Base = unsafe.SliceData(answer)
	v.outData[v.queued].SetLen(len(answer))
	h := &v.out[v.queued].header
	h.Name, h.Namelen = v.in[i].header.Name, v.in[i].header.Namelen
	v.queued++
}
