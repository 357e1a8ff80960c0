package linux

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// metricOf is the metric of a route for which none is given: 0 for IPv4,
// IP6_RT_PRIO_USER (include/uapi/linux/ipv6_route.h) for IPv6.
func metricOf(family int) int {
	if family == netlink.FAMILY_V6 {
		return 1024
	}
	return 0
}

func abs(n int) int { return max(n, -n) }

// routes reads the routes of the main table that carry our protocol number.
// names gives the names of the namespace's links by index.
func (c *conn) routes(netns string, names map[int]string) ([]reconciler.Object, error) {
	var out []reconciler.Object
	seen := map[reconciler.Key]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := c.listRoutes(family, &netlink.Route{Protocol: reconciler.RouteProtocol, Table: unix.RT_TABLE_MAIN},
			netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, fmt.Errorf("dump of routes: %w", err)
		}
		// Of several routes to one destination the one with the metric of
		// ours stands for them all; the others come to light when it is gone.
		slices.SortStableFunc(list, func(a, b netlink.Route) int {
			return cmp.Compare(abs(a.Priority-metricOf(family)), abs(b.Priority-metricOf(family)))
		})
		for _, r := range list {
			o, ok := routeObject(netns, r, names)
			if ok && !seen[o.Key()] {
				seen[o.Key()] = true
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// listRoutes dumps the routes of a family that pass the filter.
func (c *conn) listRoutes(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	list, err := dump(func() ([]netlink.Route, error) {
		f := *filter // the library fills in what is missing
		return c.RouteListFiltered(family, &f, mask)
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // no such table yet, or no such family
	}
	return list, err
}

// routeGet asks the kernel for its route to an address. The library's request
// has a flag that a kernel which checks strictly refuses for IPv6
// (RTM_F_LOOKUP_TABLE, inet6_rtm_valid_getroute_req, Linux 6.18).
func (c *conn) routeGet(to netip.Addr) ([]netlink.Route, error) {
	_ = c.SetStrictCheck(false)
	defer func() { _ = c.SetStrictCheck(true) }()
	return c.RouteGet(to.AsSlice())
}

func routeObject(netns string, r netlink.Route, names map[int]string) (reconciler.Route, bool) {
	dst, ok := toPrefix(r.Dst)
	if !ok || int(r.Protocol) != reconciler.RouteProtocol {
		return reconciler.Route{}, false
	}
	return reconciler.Route{
		Netns: netns, Destination: dst, Gateway: toAddr(r.Gw), Link: names[r.LinkIndex],
		Source: toAddr(r.Src), MTU: r.MTU, Onlink: r.Flags&unix.RTNH_F_ONLINK != 0,
	}, true
}

func kernelRoute(index int, r reconciler.Route) *netlink.Route {
	k := &netlink.Route{
		LinkIndex: index, Dst: toIPNet(r.Destination), MTU: r.MTU,
		Protocol: reconciler.RouteProtocol, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST,
	}
	if r.Gateway.IsValid() {
		k.Gw = r.Gateway.AsSlice()
	} else if r.Destination.Addr().Is4() {
		k.Scope = netlink.SCOPE_LINK
	}
	if r.Source.IsValid() {
		k.Src = r.Source.AsSlice()
	}
	if r.Onlink {
		k.Flags = unix.RTNH_F_ONLINK
	}
	return k
}

// addRoute adds a route. A route of ours to the same destination is
// replaced; one of another protocol is a conflict.
func (c *conn) addRoute(index int, r reconciler.Route) error {
	err := c.RouteAdd(kernelRoute(index, r))
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	return c.replaceRoute(index, r)
}

// replaceRoute puts a route into the place of ours to the same destination.
func (c *conn) replaceRoute(index int, r reconciler.Route) error {
	family := netlink.FAMILY_V4
	if r.Destination.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	foreign, err := c.foreignRoutes(family)
	if err != nil {
		return err
	}
	if there, ok := foreign[r.Destination]; ok {
		return &reconciler.ConflictError{Conflict: routeConflict(r, there)}
	}
	return c.RouteReplace(kernelRoute(index, r))
}

// foreignRoutes gives the routes that a replacement would hit although they
// are not ours. They are read once for a plan: with 1,000 routes to replace
// a dump for each took six seconds.
func (c *conn) foreignRoutes(family int) (map[netip.Prefix]netlink.Route, error) {
	if known := c.foreign[family]; known != nil {
		return known, nil
	}
	list, err := c.listRoutes(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, 0)
	if err != nil {
		return nil, err
	}
	out := map[netip.Prefix]netlink.Route{}
	for _, there := range list {
		dst, _ := toPrefix(there.Dst)
		if there.Priority == metricOf(family) && int(there.Protocol) != reconciler.RouteProtocol {
			out[dst] = there
		}
	}
	if c.foreign == nil {
		c.foreign = map[int]map[netip.Prefix]netlink.Route{}
	}
	c.foreign[family] = out
	return out, nil
}

func routeConflict(r reconciler.Route, there netlink.Route) reconciler.Conflict {
	command := "ip route delete " + r.Destination.String()
	if r.Netns != "" {
		command = "ip -n " + r.Netns + " route delete " + r.Destination.String()
	}
	return reconciler.Conflict{
		Key:    r.Key(),
		What:   fmt.Sprintf("a route to %s with protocol %s exists and is not poplin's", r.Destination, there.Protocol),
		Remedy: command,
	}
}

// deleteRoute deletes a route; one that is missing is success.
func (c *conn) deleteRoute(index int, r reconciler.Route) error {
	err := c.RouteDel(kernelRoute(index, r))
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
