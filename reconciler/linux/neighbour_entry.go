package linux

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// Where the fields of struct ndmsg (linux/neighbour.h) begin.
const (
	ndmsgState = 8
	ndmsgFlags = 10
)

// neighbourEntry is an entry of a neighbour table, or of the forwarding
// database of a VXLAN link (family AF_BRIDGE), whose address is the remote's.
type neighbourEntry struct {
	family  int
	index   int
	state   uint16
	flags   uint8
	address netip.Addr
	mac     reconciler.MAC
}

// neighbourDump dumps the neighbours of a family, or the forwarding entries of
// a link, which has to be given then.
func (c *conn) neighbourDump(family, index int) ([]neighbourEntry, error) {
	msgs, err := dump(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		if family == unix.AF_BRIDGE {
			// The kernel filters by link if asked with the message of links
			// (valid_fdb_dump_legacy in net/core/rtnetlink.c).
			msg := nl.NewIfInfomsg(family)
			msg.Index = int32(index)
			req.AddData(msg)
		} else {
			req.AddData(&netlink.Ndmsg{Family: uint8(family)})
		}
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: c.raw, Seq: c.seq}}
		msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
		c.seq = req.Seq
		return msgs, err
	})
	if err != nil {
		return nil, err
	}
	out := make([]neighbourEntry, 0, len(msgs))
	for _, m := range msgs {
		if e, ok := parseNeighbour(m); ok {
			out = append(out, e)
		}
	}
	return out, nil
}

func parseNeighbour(m []byte) (e neighbourEntry, ok bool) {
	if len(m) < ndmsgSize {
		return e, false
	}
	attrs, err := nl.ParseRouteAttr(m[ndmsgSize:])
	if err != nil {
		return e, false
	}
	native := nl.NativeEndian()
	e.family, e.index = int(m[0]), int(native.Uint32(m[ndmsgIndex:]))
	e.state, e.flags = native.Uint16(m[ndmsgState:]), m[ndmsgFlags]
	for _, a := range attrs {
		switch a.Attr.Type {
		case netlink.NDA_DST:
			e.address, _ = netip.AddrFromSlice(a.Value)
		case netlink.NDA_LLADDR:
			copy(e.mac[:], a.Value)
		}
	}
	return e, true
}

// request makes a message that sets or deletes the entry.
func (e neighbourEntry) request(kind, flags int) *nl.NetlinkRequest {
	req := request(kind, flags)
	req.AddData(&netlink.Ndmsg{Family: uint8(e.family), Index: uint32(e.index), State: e.state, Flags: e.flags})
	req.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, e.mac[:]))
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, e.address.AsSlice()))
	return req
}
