package udp

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What TUNSETOFFLOAD takes (include/uapi/linux/if_tun.h).
const (
	offloadChecksum = 0x01
	offloadTSO4     = 0x02
	offloadTSO6     = 0x04
	offloadUSO4     = 0x20
	offloadUSO6     = 0x40
)

// tun is a persistent TUN device, a lane for each of its queues.
type tun struct {
	name  string
	rungs Rungs
	*descriptors
	spinners []*spinner // of reading
}

// OpenDevice attaches to a persistent, multi-queue TUN device that exists in
// the network namespace of the calling thread. It makes none. Of the rungs it
// uses those that the kernel has.
func OpenDevice(name string, o Tuning) (Device, error) {
	if _, err := net.InterfaceByName(name); err != nil {
		return nil, fmt.Errorf("tun %s: %w", name, err)
	}
	d, err := newDescriptors(o)
	if err != nil {
		return nil, fmt.Errorf("tun %s: %w", name, err)
	}
	t := newTun(name, d, o)
	for range o.lanes() {
		if err = t.attach(); err != nil {
			break
		}
	}
	if err == nil {
		err = t.setOffloads()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tun %s: %w", name, err), t.Close())
	}
	return t, nil
}

func newTun(name string, d *descriptors, o Tuning) *tun {
	return &tun{name: name, rungs: o.usable() & (VNet | TSO | USO | Merge | Lanes | Spin), descriptors: d, spinners: o.spinners()}
}

// attach adds a queue. All holders of a device must ask for the same
// IFF_MULTI_QUEUE; the kernel refuses another.
func (t *tun) attach() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	t.list = append(t.list, fd)
	request, err := unix.NewIfreq(t.name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
	if t.rungs.Has(VNet) {
		flags |= unix.IFF_VNET_HDR
	}
	request.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("attach (TUNSETIFF): %w", err)
	}
	// The device may have gone since it was looked up, so that attaching has
	// made a new one, which goes away with the descriptor.
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, request); err != nil {
		return fmt.Errorf("read flags (TUNGETIFF): %w", err)
	}
	if request.Uint16()&unix.IFF_PERSIST == 0 {
		return fmt.Errorf("not persistent: %w", unix.ENODEV)
	}
	return nil
}

// setOffloads turns on what is wanted and what the kernel has. Offloads
// outlive their holder, so they are turned off, too.
func (t *tun) setOffloads() error {
	fd := t.list[0]
	if t.rungs.Has(VNet) {
		size := int32(offloadSize) // a former holder may have had another one
		if err := ioctl(fd, unix.TUNSETVNETHDRSZ, unsafe.Pointer(&size)); err != nil {
			return fmt.Errorf("set header size (TUNSETVNETHDRSZ): %w", err)
		}
	}
	for {
		value := 0
		for rung, bits := range map[Rungs]int{
			VNet: offloadChecksum, TSO: offloadTSO4 | offloadTSO6, USO: offloadUSO4 | offloadUSO6,
		} {
			if t.rungs.Has(rung) {
				value |= bits
			}
		}
		err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, value)
		switch {
		case err == nil:
			return nil
		case t.rungs.Has(USO): // before Linux 6.2
			t.rungs &^= USO
		case t.rungs.Has(TSO):
			t.rungs &^= TSO
		default:
			return fmt.Errorf("set offloads (TUNSETOFFLOAD): %w", err)
		}
	}
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

func (t *tun) Name() string { return t.name }
func (t *tun) Lanes() int   { return len(t.list) }
func (t *tun) Rungs() Rungs { return t.rungs }

func (t *tun) Read(lane int, room []byte, bursts []Burst) (int, error) {
	if !t.enterRead() {
		return 0, net.ErrClosed
	}
	defer t.leave()
	fd, n, slept := t.list[lane], 0, false
	for n < len(bursts) && len(room) >= maxBurst {
		size, errno := t.read(fd, room[:maxBurst], &bursts[n])
		switch {
		case errno == 0:
			bursts[n].Data = room[:size:size]
			room = room[size:]
			n++
			t.spinners[lane].found()
			if slept && n == 1 && bursts[0].Offload.Kind == segmentsNone {
				return n, nil // probably alone, and somebody waits for it
			}
		case n > 0: // an error, being final, comes again
			return n, nil
		case errno == unix.EAGAIN:
			if t.spinners[lane].again() {
				continue
			}
			slept = true
			if err := t.await(fd, unix.POLLIN); err != nil {
				return 0, err
			}
		case errno != unix.EINTR:
			return 0, errno
		}
	}
	return n, nil
}

// read takes one burst.
func (t *tun) read(fd int, room []byte, b *Burst) (int, unix.Errno) {
	b.Offload = Offload{}
	if !t.rungs.Has(VNet) {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&room[0])), uintptr(len(room)))
		return int(n), errno
	}
	var vector [2]unix.Iovec
	vector[0].Base, vector[1].Base = (*byte)(unsafe.Pointer(&b.Offload)), &room[0]
	vector[0].SetLen(offloadSize)
	vector[1].SetLen(len(room))
	n, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&vector)), uintptr(len(vector)))
	if errno == 0 && int(n) < offloadSize {
		return 0, unix.EIO
	}
	return int(n) - offloadSize, errno
}

func (t *tun) Write(lane int, o Offload, parts [][]byte) error {
	if !t.enter() {
		return net.ErrClosed
	}
	defer t.leave()
	var vector [1 + maxParts]unix.Iovec
	k := 0
	if t.rungs.Has(VNet) {
		vector[0].Base = (*byte)(unsafe.Pointer(&o))
		vector[0].SetLen(offloadSize)
		k = 1
	}
	for _, p := range parts {
		vector[k].Base = unsafe.SliceData(p)
		vector[k].SetLen(len(p))
		k++
	}
	lane %= len(t.list)
	t.spinners[lane].sent()
	fd := t.list[lane]
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vector)), uintptr(k))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := t.await(fd, unix.POLLOUT); err != nil {
				return err
			}
		default:
			return errno
		}
	}
}

func (t *tun) Close() error {
	t.close()
	return nil
}
