//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	bridgeName  = "underlay"
	hostLink    = "eth0"
	underlayMTU = 1500 // bytes
)

// underlay is the network between the hosts: one bridge in the keeper's
// network namespace with a port for each host. The bridge has no address, so
// the keeper's namespace never answers for anybody.
type underlay struct {
	handle *netlink.Handle
	bridge netlink.Link
}

func makeUnderlay() (*underlay, error) {
	handle, err := netlink.NewHandle()
	if err != nil {
		return nil, err
	}
	u := &underlay{handle: handle}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = bridgeName, underlayMTU
	snooping := false
	if err := handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return nil, fmt.Errorf("link %s: %w", bridgeName, err)
	}
	// The hosts' frames are not the keeper's to filter.
	for _, name := range []string{"iptables", "ip6tables", "arptables"} {
		if err := writeSysctl("net/bridge/bridge-nf-call-"+name, "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	// Nor are they its to answer.
	if err := writeSysctl("net/ipv6/conf/"+bridgeName+"/disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if u.bridge, err = handle.LinkByName(bridgeName); err != nil {
		return nil, fmt.Errorf("link %s: %w", bridgeName, err)
	}
	return u, handle.LinkSetUp(u.bridge)
}

// port is the name of the bridge's end of a host's cable.
func port(index int) string { return fmt.Sprintf("port-%d", index+1) }

// connect gives a host its link on the underlay, with addresses and routes.
func (u *underlay) connect(index int, host Host, p *place) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = port(index), underlayMTU, u.bridge.Attrs().Index
	err := u.handle.LinkAdd(&netlink.Veth{
		LinkAttrs:     attrs,
		PeerName:      hostLink,
		PeerNamespace: netlink.NsFd(int(p.net.Fd())),
	})
	if err != nil {
		return fmt.Errorf("link %s: %w", attrs.Name, err)
	}
	link, err := u.handle.LinkByName(attrs.Name)
	if err != nil {
		return fmt.Errorf("link %s: %w", attrs.Name, err)
	}
	if err := u.handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: %w", attrs.Name, err)
	}
	if err := p.inside(func() error { return setSysctls(host) }); err != nil {
		return err
	}
	return p.inside(func() error { return configure(host) })
}

// cut takes the host's port out of the bridge. The cable stays plugged in: the
// host keeps carrier, addresses and routes and hears nothing, as when
// something fails further away, which is the harder case for a daemon than
// a link that says that it is down.
func (u *underlay) cut(index int) error {
	return u.port(index, u.handle.LinkSetNoMaster)
}

// mend puts the port back.
func (u *underlay) mend(index int) error {
	return u.port(index, func(l netlink.Link) error {
		return u.handle.LinkSetMasterByIndex(l, u.bridge.Attrs().Index)
	})
}

// isCut reports whether the host's port is out of the bridge.
func (u *underlay) isCut(index int) bool {
	cut := false
	err := u.port(index, func(l netlink.Link) error {
		cut = l.Attrs().MasterIndex == 0
		return nil
	})
	return err == nil && cut
}

func (u *underlay) port(index int, do func(netlink.Link) error) error {
	link, err := u.handle.LinkByName(port(index))
	if err == nil {
		err = do(link)
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", port(index), err)
	}
	return nil
}

// setSysctls makes a host start from the kernel's defaults: a new network
// namespace takes IPv4 settings from the machine's, which may be a router
// already. It runs inside the host.
func setSysctls(host Host) error {
	forward := "0"
	if host.Forwards {
		forward = "1"
	}
	settings := [][2]string{
		{"net/ipv4/ip_forward", forward},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv6/conf/all/disable_ipv6", "0"},
		{"net/ipv6/conf/default/disable_ipv6", "0"},
		{"net/ipv6/conf/all/forwarding", forward},
	}
	for _, s := range settings {
		if err := writeSysctl(s[0], s[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeSysctl sets a network sysctl in the calling thread's network
// namespace.
func writeSysctl(name, value string) error {
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
		return fmt.Errorf("sysctl %s: %w", name, err)
	}
	return nil
}

// configure brings a host's links up. It runs inside the host.
func configure(host Host) error {
	handle, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	// The link-local address, too, is to be there at once.
	err = writeSysctl("net/ipv6/conf/"+hostLink+"/accept_dad", "0")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, name := range []string{"lo", hostLink} {
		link, err := handle.LinkByName(name)
		if err == nil {
			err = handle.LinkSetUp(link)
		}
		if err != nil {
			return fmt.Errorf("link %s of %s: %w", name, host.Name, err)
		}
	}
	link, err := handle.LinkByName(hostLink)
	if err != nil {
		return err
	}
	for _, a := range host.Addresses {
		if err := handle.AddrAdd(link, address(a)); err != nil {
			return fmt.Errorf("address %s of %s: %w", a, host.Name, err)
		}
	}
	for _, a := range host.Gateways {
		if err := handle.RouteAdd(defaultRoute(link, a)); err != nil {
			return fmt.Errorf("default route via %s of %s: %w", a, host.Name, err)
		}
	}
	return nil
}

// address is one that can be used at once: duplicates are not looked for.
func address(a netip.Addr) *netlink.Addr {
	out := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(prefixLength(a), a.BitLen())}}
	if a.Is6() {
		out.Flags = unix.IFA_F_NODAD
	}
	return out
}

func defaultRoute(link netlink.Link, gateway netip.Addr) *netlink.Route {
	bits := gateway.BitLen()
	zero := make(net.IP, bits/8)
	return &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       &net.IPNet{IP: zero, Mask: net.CIDRMask(0, bits)},
		Gw:        gateway.AsSlice(),
	}
}
