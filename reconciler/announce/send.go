//go:build linux

package announce

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// macSize is the length of an Ethernet address in bytes.
const macSize = 6

// Send tells the neighbours on a link once that an address is at this host.
// It needs CAP_NET_RAW. On a link without Ethernet addresses there are no
// neighbours to tell.
func Send(link string, address netip.Addr) error {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return fmt.Errorf("announcing %s on %s: %w", address, link, err)
	}
	if len(l.HardwareAddr) != macSize {
		return nil
	}
	if address.Is4() {
		err = sendARP(l, address)
	} else {
		err = sendAdvertisement(l, address)
	}
	if err != nil {
		return fmt.Errorf("announcing %s on %s: %w", address, link, err)
	}
	return nil
}

func sendARP(l *net.Interface, address netip.Addr) error {
	// Protocol 0 receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: l.Index, Halen: macSize, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	return errors.Join(
		unix.Sendto(fd, arpFrame(arpRequest, l.HardwareAddr, address), 0, to),
		unix.Sendto(fd, arpFrame(arpReply, l.HardwareAddr, address), 0, to))
}

// sendAdvertisement leaves source and checksum to the kernel.
func sendAdvertisement(l *net.Interface, address netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Neighbours discard what came through a router (RFC 4861 section 7.1.2).
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	everyNode := netip.MustParseAddr("ff02::1").As16()
	return unix.Sendto(fd, advertisement(l.HardwareAddr, address), 0, &unix.SockaddrInet6{Addr: everyNode, ZoneId: uint32(l.Index)})
}
