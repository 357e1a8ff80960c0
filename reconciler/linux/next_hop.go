package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NextHop is where this host's routing sends packets to an address.
type NextHop struct {
	Local   bool   // they are for this host
	Refused string // why they go nowhere: "unreachable", "blackhole", …
	Link    string // else they leave by this link
	Gateway netip.Addr
	// Source is the address that a socket of this host sends from.
	Source netip.Addr
	// Masquerade is the address that a masqueraded packet leaves with.
	Masquerade netip.Addr
}

// NextHop asks the kernel for its route to an address, as packets of this
// host take it.
func (t *Target) NextHop(ctx context.Context, to netip.Addr) (NextHop, error) {
	if err := ctx.Err(); err != nil {
		return NextHop{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	hop, err := t.host.nextHop(to)
	if err != nil {
		return NextHop{}, fmt.Errorf("route to %s: %w", to, err)
	}
	return hop, nil
}

// refusals are the errors with which the kernel says that there is no way
// (fib_props in net/ipv4/fib_semantics.c, ip6_rt_init_dst_reject in
// net/ipv6/route.c).
var refusals = []struct {
	err  error
	text string
}{
	{unix.ENETUNREACH, "no route"}, {unix.EHOSTUNREACH, "unreachable"}, {unix.EACCES, "prohibited"}, {unix.EINVAL, "blackhole"},
}

func (c *conn) nextHop(to netip.Addr) (NextHop, error) {
	routes, err := c.routeGet(to)
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return NextHop{Refused: r.text}, nil
		}
	}
	if err != nil || len(routes) == 0 {
		return NextHop{Refused: "no route"}, err
	}
	r := routes[0]
	hop := NextHop{Source: toAddr(r.Src), Gateway: toAddr(r.Gw)}
	switch r.Type {
	case unix.RTN_LOCAL:
		hop.Local = true
		return hop, nil
	case unix.RTN_UNREACHABLE: // IPv6 answers where IPv4 gives an error
		return NextHop{Refused: "unreachable"}, nil
	case unix.RTN_BLACKHOLE:
		return NextHop{Refused: "blackhole"}, nil
	case unix.RTN_PROHIBIT:
		return NextHop{Refused: "prohibited"}, nil
	}
	link, err := c.LinkByIndex(r.LinkIndex)
	if err != nil {
		return NextHop{}, err
	}
	hop.Link = link.Attrs().Name
	all, err := dump(func() ([]netlink.Addr, error) { return c.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return NextHop{}, err
	}
	hop.Masquerade = masqueradeAddress(all, r.LinkIndex, to, hop.Gateway)
	return hop, nil
}

// masqueradeAddress says which address a masqueraded packet gets that leaves
// by a link. IPv4: the link's address in the gateway's network (without a
// gateway: in the destination's), else its first one, else any other link's
// (inet_select_addr). IPv6: the one that has most in common with the
// destination (RFC 6724, of which the rules that tell privacy and mobility
// addresses apart are left out).
func masqueradeAddress(all []netlink.Addr, link int, to, gateway netip.Addr) netip.Addr {
	type candidate struct {
		address netip.Addr
		rank    int
	}
	via := to
	if gateway.Is4() {
		via = gateway
	}
	var list []candidate
	for _, a := range all {
		p, ok := toPrefix(a.IPNet)
		if !ok || p.Addr().Is4() != to.Is4() || p.Addr().IsLinkLocalUnicast() || !usable(a) {
			continue
		}
		c := candidate{p.Addr(), 0}
		switch {
		case to.Is6():
			c.rank = common(p.Addr(), to)
		case p.Contains(via) || a.Peer != nil && a.Peer.Contains(via.AsSlice()):
			c.rank = 1
		}
		if a.LinkIndex == link {
			c.rank += 1000
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return netip.Addr{}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(b.rank, a.rank) })
	return list[0].address
}

// common counts the leading bits that two addresses of IPv6 share.
func common(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			return 8*i + bits.LeadingZeros8(d)
		}
	}
	return 128
}
