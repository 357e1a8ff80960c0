package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// addresses reads the addresses of the links, given by index and name. Left
// out are link-local IPv6 addresses, which the kernel makes, and addresses
// with a lifetime, which are some protocol's.
func (c *conn) addresses(netns string, links map[int]string) ([]reconciler.Object, error) {
	if len(links) == 0 {
		return nil, nil
	}
	list, err := dump(func() ([]netlink.Addr, error) { return c.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("dump of addresses: %w", err)
	}
	var out []reconciler.Object
	for _, a := range list {
		link, ok := links[a.LinkIndex]
		prefix, valid := toPrefix(a.IPNet)
		if !ok || !valid || a.Flags&unix.IFA_F_PERMANENT == 0 {
			continue
		}
		if prefix.Addr().Is6() && prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		out = append(out, reconciler.Address{Netns: netns, Link: link, Prefix: prefix})
	}
	return out, nil
}

// addAddress adds an address; one that is there already is success.
func (c *conn) addAddress(index int, prefix netip.Prefix) error {
	err := c.AddrAdd(nil, kernelAddress(index, prefix))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// deleteAddress deletes an address; one that is missing is success.
func (c *conn) deleteAddress(index int, prefix netip.Prefix) error {
	err := c.AddrDel(nil, kernelAddress(index, prefix))
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func kernelAddress(index int, prefix netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{
		LinkIndex: index, IPNet: toIPNet(prefix), Flags: unix.IFA_F_NOPREFIXROUTE,
		Broadcast: net.IPv4zero, // none: ip address add sets none either
	}
	if prefix.Addr().Is6() {
		a.Flags |= unix.IFA_F_NODAD
	}
	return a
}

// toPrefix converts what the library returns; the host bits stay.
func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	if bits == 32 {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, ones), true
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// toAddr converts an address that the library returns; nil gives the zero
// value.
func toAddr(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}
