package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dumpAttempts is how often a dump is taken again that the kernel says was
// interrupted by a change.
const dumpAttempts = 20

// conn is an rtnetlink connection to one network namespace. It is not safe
// for concurrent use.
type conn struct {
	*netlink.Handle
	raw *nl.NetlinkSocket // for messages that the handle has no method for
	seq uint32
	// foreign are the routes that are not ours, by family, as of the first
	// replacement in a plan; nil: not read.
	foreign map[int]map[netip.Prefix]netlink.Route
}

// newConn connects to the network namespace of the calling thread.
func newConn() (*conn, error) {
	h, err := netlink.NewHandleAt(netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	// The kernel filters dumps (of routes by protocol, say) only when asked
	// to be strict; older ones send everything, and the handle filters.
	_ = h.SetStrictCheck(true)
	raw, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	_ = raw.SetExtAck(true)
	return &conn{Handle: h, raw: raw}, nil
}

func (c *conn) Close() {
	c.Handle.Close()
	c.raw.Close()
}

// dump repeats a dump that a change interrupted.
func dump[T any](read func() (T, error)) (T, error) {
	var out T
	var err error
	for range dumpAttempts {
		out, err = read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

// request makes a message for batch.
func request(kind int, flags int) *nl.NetlinkRequest {
	return nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
}

// batch sends the requests as one datagram. The kernel works on a datagram
// within one system call, so nobody can stop this process between two of
// them. The first failure is returned; the later requests are carried out
// all the same.
func (c *conn) batch(reqs ...*nl.NetlinkRequest) error {
	var data []byte
	waiting := map[uint32]bool{}
	for _, req := range reqs {
		c.seq++
		req.Seq = c.seq
		waiting[req.Seq] = true
		data = append(data, req.Serialize()...)
	}
	c.raw.Lock()
	defer c.raw.Unlock()
	if err := unix.Sendto(c.raw.GetFd(), data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("rtnetlink: send: %w", err)
	}
	var first error
	for len(waiting) > 0 {
		msgs, _, err := c.raw.Receive()
		if err != nil {
			return fmt.Errorf("rtnetlink: receive: %w", err)
		}
		for _, m := range msgs {
			if m.Header.Type != unix.NLMSG_ERROR || !waiting[m.Header.Seq] {
				continue
			}
			delete(waiting, m.Header.Seq)
			if err := ackError(m); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// dumpLinks returns the raw RTM_NEWLINK messages of all links, or of the one
// with the given name if it is not empty (none if there is no such link).
func (c *conn) dumpLinks(name string) ([][]byte, error) {
	flags := unix.NLM_F_DUMP
	if name != "" {
		flags = 0
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, flags)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(filterSkipStats)))
	if name != "" {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	}
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: c.raw, Seq: c.seq}}
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	c.seq = req.Seq
	if name != "" && errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	return msgs, err
}

// filterSkipStats is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h: no
// counters, which are the larger part of a link's message.
const filterSkipStats = 1 << 3

// ackError gives the error of an acknowledgement, with the kernel's words
// where it sent some.
func ackError(m syscall.NetlinkMessage) error {
	code := int32(nl.NativeEndian().Uint32(m.Data[:4]))
	if code == 0 {
		return nil
	}
	err := error(unix.Errno(-code))
	if m.Header.Flags&unix.NLM_F_ACK_TLVS == 0 || len(m.Data) < 4+unix.NLMSG_HDRLEN {
		return err
	}
	echo := unix.NLMSG_HDRLEN
	if m.Header.Flags&unix.NLM_F_CAPPED == 0 {
		echo = int(nl.NativeEndian().Uint32(m.Data[4:8])+3) &^ 3
	}
	if len(m.Data) < 4+echo {
		return err
	}
	attrs, parseErr := nl.ParseRouteAttr(m.Data[4+echo:])
	if parseErr != nil {
		return err
	}
	for _, a := range attrs {
		if a.Attr.Type == nl.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%w: %s", err, unix.ByteSliceToString(a.Value))
		}
	}
	return err
}
