package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// ndmsgSize is the size of struct ndmsg of linux/neighbour.h in bytes, and
// where the index of its link begins.
const (
	ndmsgSize  = 12
	ndmsgIndex = 4
)

// proxyEntry is a proxy neighbour of the kernel, ours or not.
type proxyEntry struct {
	address netip.Addr
	index   int
	ours    bool
}

// proxyEntries dumps all proxy neighbours.
func (c *conn) proxyEntries() ([]proxyEntry, error) {
	msgs, err := dump(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		req.AddData(&netlink.Ndmsg{Flags: netlink.NTF_PROXY})
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: c.raw, Seq: c.seq}}
		msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
		c.seq = req.Seq
		return msgs, err
	})
	if err != nil {
		return nil, fmt.Errorf("dump of proxy neighbours: %w", err)
	}
	var out []proxyEntry
	for _, m := range msgs {
		if e, ok := parseProxyEntry(m); ok {
			out = append(out, e)
		}
	}
	return out, nil
}

// parseProxyEntry reads an entry; ok is false for those of a tunnel's table,
// which have no address.
func parseProxyEntry(m []byte) (e proxyEntry, ok bool) {
	if len(m) < ndmsgSize {
		return e, false
	}
	attrs, err := nl.ParseRouteAttr(m[ndmsgSize:])
	if err != nil {
		return e, false
	}
	e.index = int(nl.NativeEndian().Uint32(m[ndmsgIndex:]))
	for _, a := range attrs {
		switch a.Attr.Type {
		case netlink.NDA_DST:
			e.address, ok = netip.AddrFromSlice(a.Value)
		case netlink.NDA_PROTOCOL:
			e.ours = len(a.Value) > 0 && int(a.Value[0]) == reconciler.RouteProtocol
		}
	}
	return e, ok
}

// proxyNeighbours reads those that carry our protocol number.
func (c *conn) proxyNeighbours() ([]reconciler.Object, error) {
	entries, err := c.proxyEntries()
	if err != nil {
		return nil, err
	}
	var names map[int]string
	var out []reconciler.Object
	for _, e := range entries {
		if !e.ours {
			continue
		}
		if names == nil {
			links, err := c.links()
			if err != nil {
				return nil, err
			}
			names = indexNames(links)
		}
		out = append(out, reconciler.ProxyNeighbour{Address: e.address, Link: names[e.index]})
	}
	return out, nil
}

func (t *Target) doProxyNeighbour(p reconciler.ProxyNeighbour, remove bool) error {
	c, there, err := t.find("", p.Link)
	switch {
	case remove && errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case remove:
		err = c.batch(proxyRequest(unix.RTM_DELNEIGH, 0, there.index, p.Address))
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	entries, err := c.proxyEntries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		// The kernel would put our mark on it without a word.
		if e.address == p.Address && e.index == there.index && !e.ours {
			return &reconciler.ConflictError{Conflict: reconciler.Conflict{
				Key:    p.Key(),
				What:   fmt.Sprintf("a proxy neighbour %s on %s exists and is not poplin's", p.Address, p.Link),
				Remedy: fmt.Sprintf("ip neighbour delete proxy %s dev %s", p.Address, p.Link),
			}}
		}
	}
	return c.batch(proxyRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, there.index, p.Address))
}

func proxyRequest(kind, flags, index int, address netip.Addr) *nl.NetlinkRequest {
	family := unix.AF_INET
	if address.Is6() {
		family = unix.AF_INET6
	}
	req := request(kind, flags)
	req.AddData(&netlink.Ndmsg{Family: uint8(family), Index: uint32(index), State: netlink.NUD_PERMANENT, Flags: netlink.NTF_PROXY})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, address.AsSlice()))
	req.AddData(nl.NewRtAttr(netlink.NDA_PROTOCOL, []byte{reconciler.RouteProtocol}))
	return req
}
