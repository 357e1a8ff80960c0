package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// vectorSize is how many messages go through one system call, at most.
const vectorSize = 64

// message is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

// control is a control message with the size of segments: two bytes when it
// is sent, four when it is received.
type control struct {
	header unix.Cmsghdr
	size   int32
	_      int32
}

// vector holds the arguments of recvmmsg or sendmmsg, made once. (The
// batches of golang.org/x/net allocate an address for each datagram.)
type vector struct {
	messages []message
	data     []unix.Iovec
	controls []control
	// addresses are large enough for either family, and used as both.
	addresses []unix.RawSockaddrInet6
}

func newVector(r Rungs) vector {
	n := vectorSize
	if !r.Has(Batch) {
		n = 1
	}
	v := vector{
		messages:  make([]message, n),
		data:      make([]unix.Iovec, n),
		controls:  make([]control, n),
		addresses: make([]unix.RawSockaddrInet6, n),
	}
	for i := range v.messages {
		h := &v.messages[i].header
		h.Name = (*byte)(unsafe.Pointer(&v.addresses[i]))
		h.Iov = &v.data[i]
		h.SetIovlen(1)
	}
	return v
}

// call hands n messages from the first on to the kernel. A single one takes
// recvmsg or sendmsg, which are as old as sockets.
func (v *vector) call(single, many uintptr, fd, first, n int) (int, unix.Errno) {
	if n == 1 {
		m := &v.messages[first]
		length, _, errno := unix.RawSyscall(single, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), 0)
		if errno != 0 {
			return 0, errno
		}
		m.length = uint32(length)
		return 1, 0
	}
	done, _, errno := unix.RawSyscall6(many, uintptr(fd), uintptr(unsafe.Pointer(&v.messages[first])), uintptr(n), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(done), 0
}

// receiver is a vector for receiving.
type receiver struct{ vector }

func newReceiver(r Rungs) *receiver { return &receiver{newVector(r)} }

// most is how many datagrams are received at once.
func (v *receiver) most(batch []Datagram) int { return min(len(batch), len(v.messages)) }

// receive takes what is there.
func (v *receiver) receive(fd int, batch []Datagram) (int, unix.Errno) {
	want := v.most(batch)
	for i := range batch[:want] {
		v.data[i].Base = unsafe.SliceData(batch[i].Data)
		v.data[i].SetLen(cap(batch[i].Data))
		h := &v.messages[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.Control = (*byte)(unsafe.Pointer(&v.controls[i]))
		h.SetControllen(int(unsafe.Sizeof(control{})))
	}
	n, errno := v.call(unix.SYS_RECVMSG, unix.SYS_RECVMMSG, fd, 0, want)
	for i := range n {
		batch[i].Data = batch[i].Data[:v.messages[i].length]
		batch[i].Addr = v.address(i)
		batch[i].Segment = 0
		c := &v.controls[i]
		if v.messages[i].header.Controllen > 0 && c.header.Level == unix.IPPROTO_UDP && c.header.Type == udpGRO {
			batch[i].Segment = int(c.size)
		}
	}
	return n, errno
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

// sender is a vector for sending. A datagram with segments is one message,
// or a message for each segment.
type sender struct {
	vector
	of     []int // index in the batch of each message's datagram
	offset int   // bytes of the batch's first datagram that were sent already
}

func newSender(r Rungs) *sender {
	v := newVector(r)
	return &sender{vector: v, of: make([]int, len(v.messages))}
}

// skip forgets the rest of a datagram that was sent in part.
func (v *sender) skip() { v.offset = 0 }

// send makes one system call of the start of a batch, and returns how many
// datagrams are sent altogether. What is left of the next one is remembered:
// the caller comes again with it, or calls skip.
func (v *sender) send(fd int, batch []Datagram, ipv4, whole bool) (int, unix.Errno) {
	n := v.fill(batch, ipv4, whole)
	if n == 0 {
		return 0, unix.EAFNOSUPPORT
	}
	done, errno := v.call(unix.SYS_SENDMSG, unix.SYS_SENDMMSG, fd, 0, n)
	if done == 0 {
		return 0, errno
	}
	last := v.of[done-1]
	end := v.offset
	if last > 0 {
		end = 0
	}
	for i := done - 1; i >= 0 && v.of[i] == last; i-- {
		end += int(v.data[i].Len)
	}
	if end < len(batch[last].Data) {
		v.offset = end
		return last, 0
	}
	v.offset = 0
	return last + 1, 0
}

// fill makes messages of the start of a batch, as many as the vector holds
// and the socket's family can send.
func (v *sender) fill(batch []Datagram, ipv4, whole bool) int {
	n, offset := 0, v.offset
	for i := range batch {
		d := &batch[i]
		if d.Addr.Addr().Is4() != ipv4 {
			return n
		}
		for first := true; n < len(v.messages) && (first || offset < len(d.Data)); n++ {
			first = false
			size := len(d.Data) - offset
			if d.Segment > 0 && !whole {
				size = min(size, d.Segment)
			}
			v.data[n].Base = (*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(d.Data)), offset))
			v.data[n].SetLen(size)
			v.setAddress(n, d.Addr)
			v.setSegment(n, d.Segment, size)
			v.of[n] = i
			offset += size
		}
		if n == len(v.messages) {
			return n
		}
		offset = 0
	}
	return n
}

// setSegment asks for segmentation if the message has several segments.
func (v *vector) setSegment(i, segment, size int) {
	h, c := &v.messages[i].header, &v.controls[i]
	if segment == 0 || size <= segment {
		h.Control = nil
		h.SetControllen(0)
		return
	}
	c.header.Level, c.header.Type = unix.IPPROTO_UDP, udpSegment
	c.header.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&c.size)) = uint16(segment)
	h.Control = (*byte)(unsafe.Pointer(c))
	h.SetControllen(unix.CmsgSpace(2))
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
