package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A device's queues and a connection's sockets can outlive the process that
// opened them: somebody else holds them too, and gives them to the next one.
// What arrives meanwhile waits in them.

// ErrUnfit says that descriptors are not what is wanted now.
var ErrUnfit = errors.New("what a former process left does not fit")

// Descriptors are those in which packets for a device or a connection wait:
// queues, or the sockets of its lanes; nil for one that has none. They stay the
// owner's and may be duplicated until it is closed.
func Descriptors(v any) []int {
	if v, ok := v.(interface{ waiting() []int }); ok {
		return v.waiting()
	}
	return nil
}

func (t *tun) waiting() []int { return t.list }

func (s *sockets) waiting() []int {
	var list []int
	for _, l := range s.lanes {
		list = append(list, l.fd)
	}
	return list
}

// InheritDevice is OpenDevice with the queues that a former process had. It
// owns them, also if it fails; with ErrUnfit if they are none of that device,
// in this network namespace, with these rungs and as many as there are lanes.
func InheritDevice(name string, queues []int, o Tuning) (Device, error) {
	d, err := inherited(queues, o)
	if err != nil {
		return nil, fmt.Errorf("tun %s: %w", name, err)
	}
	t := newTun(name, d, o)
	for _, fd := range queues {
		if err = t.checkQueue(fd); err != nil {
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

// InheritConn is Listen with the sockets that a former process received from.
// It owns them, also if it fails; with ErrUnfit if they are no UDP sockets at
// that address and port, in this network namespace and as many as there are
// lanes.
func InheritConn(local netip.AddrPort, list []int, o Tuning) (Conn, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	d, err := inherited(list, o)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", local, err)
	}
	s := newSockets(local, d, o)
	for _, fd := range list {
		if err = s.checkSocket(fd); err != nil {
			break
		}
	}
	if err == nil {
		err = s.open(list, o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", local, err), s.Close())
	}
	return s, nil
}

// inherited takes descriptors over, and closes them if that fails.
func inherited(list []int, o Tuning) (*descriptors, error) {
	d, err := newDescriptors(o)
	if err != nil {
		CloseAll(list)
		return nil, err
	}
	d.list = append(d.list, list...)
	if len(list) != o.lanes() {
		d.close()
		return nil, fmt.Errorf("%w: %d of %d lanes", ErrUnfit, len(list), o.lanes())
	}
	for _, fd := range list {
		unix.CloseOnExec(fd)
		if err = errors.Join(err, unix.SetNonblock(fd, true), checkNamespace(fd)); err != nil {
			d.close()
			return nil, unfit(err)
		}
	}
	return d, nil
}

// CloseAll closes descriptors that were not inherited after all.
func CloseAll(list []int) {
	for _, fd := range list {
		unix.Close(fd)
	}
}

func unfit(err error) error { return fmt.Errorf("%w: %w", ErrUnfit, err) }

// checkNamespace makes sure that a queue or a socket belongs to the network
// namespace of the calling thread.
func checkNamespace(fd int) error {
	ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return fmt.Errorf("network namespace (SIOCGSKNS): %w", err)
	}
	defer unix.Close(ns)
	var its, ours unix.Stat_t
	if err := errors.Join(unix.Fstat(ns, &its), unix.Stat("/proc/thread-self/ns/net", &ours)); err != nil {
		return err
	}
	if its.Dev != ours.Dev || its.Ino != ours.Ino {
		return errors.New("in another network namespace")
	}
	return nil
}

// tunMajor and tunMinor are the device number of /dev/net/tun (include/linux/miscdevice.h).
const tunMajor, tunMinor = 10, 200

// checkQueue makes sure that a descriptor is a queue of the device. One whose
// device was deleted is none any more, also if there is another of that name.
func (t *tun) checkQueue(fd int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return unfit(err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFCHR || stat.Rdev != unix.Mkdev(tunMajor, tunMinor) {
		return unfit(errors.New("no TUN queue"))
	}
	request, err := unix.NewIfreq(t.name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, request); err != nil {
		return unfit(fmt.Errorf("read flags (TUNGETIFF): %w", err))
	}
	want := uint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE | unix.IFF_PERSIST)
	if t.rungs.Has(VNet) {
		want |= unix.IFF_VNET_HDR
	}
	const looked = unix.IFF_TUN | unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE | unix.IFF_PERSIST | unix.IFF_VNET_HDR
	if request.Name() != t.name || request.Uint16()&looked != want {
		return unfit(fmt.Errorf("queue of %s with flags %#x, want %#x", request.Name(), request.Uint16()&looked, want))
	}
	return nil
}

// checkSocket makes sure that a descriptor is a UDP socket at the address and
// port.
func (s *sockets) checkSocket(fd int) error {
	family := unix.AF_INET6
	if s.local.Addr().Is4() {
		family = unix.AF_INET
	}
	for option, want := range map[int]int{unix.SO_DOMAIN: family, unix.SO_TYPE: unix.SOCK_DGRAM, unix.SO_PROTOCOL: unix.IPPROTO_UDP} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		if err != nil {
			return unfit(os.NewSyscallError("getsockopt", err))
		}
		if got != want {
			return unfit(fmt.Errorf("socket option %d is %d, want %d", option, got, want))
		}
	}
	at, err := boundTo(fd)
	if err != nil {
		return unfit(err)
	}
	if at != s.local {
		return unfit(fmt.Errorf("at %s", at))
	}
	return nil
}
