package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Underlay is the link between this host and the others.
type Underlay struct {
	// Addresses of the link; the chosen one comes first, then the best of
	// the other family if there is one.
	Addresses []netip.Addr
	Link      string
	LinkIndex int
	MTU       int  // bytes
	Up        bool // administratively
	// Prefixes are the networks that the link is directly on. A peer whose
	// address is in one of them is on-link.
	Prefixes []netip.Prefix
}

func (u Underlay) equal(o Underlay) bool {
	return u.Link == o.Link && u.LinkIndex == o.LinkIndex && u.MTU == o.MTU && u.Up == o.Up &&
		slices.Equal(u.Addresses, o.Addresses) && slices.Equal(u.Prefixes, o.Prefixes)
}

// canReach is the prefix of a choice by an address to be reached.
const canReach = "can-reach:"

// Underlay finds the underlay by a choice: "" for the source address of the
// default route, an address of this host, the name of a link, or
// can-reach:ADDRESS for the source address towards that address. From then
// on Changes receives when the answer changes.
func (t *Target) Underlay(ctx context.Context, choice string) (Underlay, error) {
	if err := ctx.Err(); err != nil {
		return Underlay{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.underlays[choice]; u.LinkIndex != 0 && t.live.Load() && !t.dirt.underlay() {
		return u, nil // no event told of a change
	}
	u, err := t.host.underlay(choice)
	before, known := t.underlays[choice]
	t.underlays[choice] = u
	if !known || !u.equal(before) {
		if links, linksErr := t.host.links(); linksErr == nil {
			t.interest.Store(t.interests(links))
		}
	}
	if err != nil {
		return Underlay{}, fmt.Errorf("underlay %q: %w", choice, err)
	}
	return u, nil
}

// Facts are what the documents do not say about a host.
type Facts struct {
	// BridgeNetfilter says that br_netfilter is there, which can hand
	// bridged packets to netfilter.
	BridgeNetfilter bool
	// BadChecksumOffload says that VXLAN links of this kernel send wrong
	// checksums if they leave them to what is below them.
	BadChecksumOffload bool
	// WireGuard says that this kernel has WireGuard devices.
	WireGuard bool
}

// Facts reads the facts. From then on Changes receives when they change.
func (t *Target) Facts(ctx context.Context) (Facts, error) {
	if err := ctx.Err(); err != nil {
		return Facts{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bridgeNF = bridgeNetfilter()
	if time.Since(t.askedWG) > askWG {
		t.kernelWG, t.askedWG = kernelWireGuard(), time.Now()
	}
	return Facts{BridgeNetfilter: t.bridgeNF, BadChecksumOffload: before57(), WireGuard: t.kernelWG}, nil
}

func bridgeNetfilter() bool {
	_, err := os.Stat(procSys + "/net/bridge")
	return err == nil
}

// askWG is how long it is taken to be known whether the kernel has WireGuard:
// a kernel without it starts modprobe for each question.
const askWG = time.Minute

// kernelWireGuard reports whether the kernel knows WireGuard. Asking for it
// loads the module where it is one.
func kernelWireGuard() bool {
	family, err := netlink.GenlFamilyGet("wireguard")
	return err == nil && family != nil
}

// underlayDiffers reports whether facts that somebody asked for changed. The
// caller holds t.mu.
func (t *Target) underlayDiffers() bool {
	if !t.dirt.takeUnderlay() {
		return false
	}
	differs := false
	for choice, before := range t.underlays {
		now, err := t.host.underlay(choice)
		if err != nil {
			now = Underlay{}
		}
		if !now.equal(before) {
			t.underlays[choice] = now
			differs = true
		}
	}
	if now := bridgeNetfilter(); now != t.bridgeNF {
		t.bridgeNF = now
		differs = true
	}
	return differs
}

// underlayInterest adds to an interest what underlays depend on.
func (t *Target) underlayInterest(in *interest) {
	for choice, u := range t.underlays {
		if u.LinkIndex == 0 {
			in.anyLink = true
		}
		in.underlays[int32(u.LinkIndex)] = true
		in.anyRoute = in.anyRoute || strings.HasPrefix(choice, canReach)
	}
}

func (c *conn) underlay(choice string) (Underlay, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return c.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return Underlay{}, err
	}
	links, err := c.links()
	if err != nil {
		return Underlay{}, err
	}
	index, first, err := c.chooseUnderlay(choice, links, addrs)
	if err != nil {
		return Underlay{}, err
	}
	i := slices.IndexFunc(links, func(l kernelLink) bool { return l.index == index })
	if i < 0 {
		return Underlay{}, errors.New("the link is gone")
	}
	attrs := links[i].Attrs()
	u := Underlay{Link: attrs.Name, LinkIndex: index, MTU: attrs.MTU, Up: attrs.RawFlags&unix.IFF_UP != 0}
	u.addAddresses(first, index, addrs)
	if len(u.Addresses) == 0 {
		return Underlay{}, fmt.Errorf("link %s has no address", u.Link)
	}
	return u, nil
}

// addAddresses fills in the addresses and networks of a link.
func (u *Underlay) addAddresses(first netip.Addr, index int, addrs []netlink.Addr) {
	if first.IsValid() {
		u.Addresses = append(u.Addresses, first)
	}
	for _, a := range addrs {
		p, ok := toPrefix(a.IPNet)
		if !ok || a.LinkIndex != index || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if p.Bits() < p.Addr().BitLen() && !slices.Contains(u.Prefixes, p.Masked()) {
			u.Prefixes = append(u.Prefixes, p.Masked())
		}
		known := slices.ContainsFunc(u.Addresses, func(o netip.Addr) bool { return o.Is4() == p.Addr().Is4() })
		if !known && usable(a) {
			u.Addresses = append(u.Addresses, p.Addr())
		}
	}
	slices.SortFunc(u.Prefixes, func(a, b netip.Prefix) int { return a.Compare(b) })
}

// usable reports whether an address serves as a source towards other hosts.
func usable(a netlink.Addr) bool {
	const unfit = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_TEMPORARY
	p, _ := toPrefix(a.IPNet)
	// A secondary IPv4 address has the flag that means temporary in IPv6.
	return !p.Addr().IsLoopback() && (a.Flags&unfit == 0 || p.Addr().Is4() && a.Flags&(unfit&^unix.IFA_F_TEMPORARY) == 0)
}

// chooseUnderlay returns the index of the underlay's link, and the address
// that comes first if the choice names one.
func (c *conn) chooseUnderlay(choice string, links []kernelLink, addrs []netlink.Addr) (int, netip.Addr, error) {
	if choice == "" {
		return c.defaultUnderlay()
	}
	if target, ok := strings.CutPrefix(choice, canReach); ok {
		addr, err := netip.ParseAddr(target)
		if err != nil {
			return 0, netip.Addr{}, err
		}
		routes, err := c.routeGet(addr)
		if err != nil || len(routes) == 0 {
			return 0, netip.Addr{}, errors.Join(fmt.Errorf("no route to %s", addr), err)
		}
		return routes[0].LinkIndex, toAddr(routes[0].Src), nil
	}
	if addr, err := netip.ParseAddr(choice); err == nil {
		for _, a := range addrs {
			if p, ok := toPrefix(a.IPNet); ok && p.Addr() == addr {
				return a.LinkIndex, addr, nil
			}
		}
		return 0, netip.Addr{}, errors.New("no link has this address")
	}
	for _, l := range links {
		if l.name == choice {
			return l.index, netip.Addr{}, nil
		}
	}
	return 0, netip.Addr{}, errors.New("there is no such link")
}

// defaultUnderlay finds the default route with the best metric, IPv4 before
// IPv6.
func (c *conn) defaultUnderlay() (int, netip.Addr, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := c.listRoutes(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, 0)
		if err != nil {
			return 0, netip.Addr{}, err
		}
		for i, r := range list {
			if r.LinkIndex == 0 && len(r.MultiPath) > 0 {
				list[i].LinkIndex = r.MultiPath[0].LinkIndex
			}
		}
		list = slices.DeleteFunc(list, func(r netlink.Route) bool {
			dst, ok := toPrefix(r.Dst)
			return !ok || dst.Bits() != 0 || r.LinkIndex == 0 || r.Type != unix.RTN_UNICAST
		})
		if len(list) > 0 {
			best := slices.MinFunc(list, func(a, b netlink.Route) int { return a.Priority - b.Priority })
			return best.LinkIndex, toAddr(best.Src), nil
		}
	}
	return 0, netip.Addr{}, errors.New("there is no default route")
}
