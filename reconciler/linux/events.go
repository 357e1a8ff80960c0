package linux

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// eventBuffer is the size, in bytes, of the buffer that holds events while a
// long Apply goes on. When it overflows everything is read again.
const eventBuffer = 4 << 20

// eventGroups are the groups of rtnetlink whose messages say that something
// of ours changed. Settings such as forwarding and rp_filter are announced
// as netconf; the library has no helper for that.
var eventGroups = [...]int{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
	unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
}

// eventSocket hears rtnetlink in this namespace and, if asked, in every
// namespace that has an id here.
type eventSocket struct {
	file       *os.File
	neighbours bool // it is in their group
	// all is false where CAP_NET_BROADCAST is missing: only the host's own
	// namespace is heard.
	all bool
}

// errOverflow says that events were lost.
var errOverflow = errors.New("events were lost")

// openEvents opens a socket that hears eventGroups everywhere, or nothing yet
// in this namespace alone.
func openEvents(everywhere bool) (*eventSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	s := &eventSocket{file: os.NewFile(uintptr(fd), "rtnetlink events")}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		s.Close()
		return nil, fmt.Errorf("events: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer) != nil {
		// As much as a user namespace may have.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, eventBuffer)
	}
	if !everywhere {
		return s, nil
	}
	s.all = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1) == nil
	for _, group := range eventGroups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			s.Close()
			return nil, fmt.Errorf("events of group %d: %w", group, err)
		}
	}
	return s, nil
}

func (s *eventSocket) Close() error { return s.file.Close() }

// hearNeighbours joins or leaves the group of neighbours and forwarding
// entries, and reports whether it joined just now. Hosts with many pods have a
// lot to say there, so it is heard only where it matters.
func (s *eventSocket) hearNeighbours(on bool) (joined bool) {
	raw, err := s.file.SyscallConn()
	if err != nil || on == s.neighbours {
		return false
	}
	option := unix.NETLINK_ADD_MEMBERSHIP
	if !on {
		option = unix.NETLINK_DROP_MEMBERSHIP
	}
	// Without it the audit finds what changed.
	_ = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, option, unix.RTNLGRP_NEIGH) == nil {
			s.neighbours = on
		}
	})
	return on && s.neighbours
}

// receive waits for messages and returns them with the id of the namespace
// that they are from, -1 for this one. The error is errOverflow if some were
// lost, os.ErrClosed after Close. The messages are valid until the next call
// with the same buffer.
func (s *eventSocket) receive(buf []byte) (msgs []syscall.NetlinkMessage, nsid int, err error) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return nil, -1, err
	}
	oob := make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	var from unix.Sockaddr
	var recvErr error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, from, recvErr = unix.Recvmsg(int(fd), buf, oob, 0)
		return !errors.Is(recvErr, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return nil, -1, err
	case errors.Is(recvErr, unix.ENOBUFS):
		return nil, -1, errOverflow
	case recvErr != nil:
		return nil, -1, recvErr
	}
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != nl.PidKernel {
		return nil, -1, nil // some process's, not the kernel's
	}
	msgs, err = syscall.ParseNetlinkMessage(buf[:n])
	return msgs, messageNSID(oob[:oobn]), err
}

// messageNSID reads the namespace id that the kernel sends beside a message.
func messageNSID(oob []byte) int {
	control, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1
	}
	for _, c := range control {
		if c.Header.Level == unix.SOL_NETLINK && c.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(c.Data) >= 4 {
			return int(int32(nl.NativeEndian().Uint32(c.Data)))
		}
	}
	return -1
}

// interest is what tells events that concern us from foreign noise.
type interest struct {
	links map[int32]bool // indexes of our links on the host
	pods  map[int]string // namespace ids of our pods
	// vxlans are the indexes of our VXLAN links.
	vxlans map[int32]bool
	// underlays are the indexes of links that an underlay was last found on.
	underlays map[int32]bool
	// anyLink says that an underlay was not found: every link may be it.
	anyLink bool
	// anyRoute says that an underlay depends on how some address is reached.
	anyRoute bool
	alias    string // what the aliases of our links start with
}

// judge says what may be out of date after a message. It is pure.
func (in *interest) judge(m syscall.NetlinkMessage, nsid int) marks {
	var out marks
	if nsid >= 0 {
		out.pod(in.pods[nsid])
		return out
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) >= unix.SizeofIfInfomsg {
			in.judgeLink(m.Data, &out)
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(m.Data) >= unix.SizeofIfAddrmsg {
			index := int32(nl.DeserializeIfAddrmsg(m.Data).Index)
			out.host = in.links[index]
			out.underlay = in.anyLink || in.underlays[index]
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(m.Data) >= unix.SizeofRtMsg {
			r := nl.DeserializeRtMsg(m.Data)
			out.host = r.Protocol == reconciler.RouteProtocol
			out.underlay = r.Table == unix.RT_TABLE_MAIN && (r.Dst_len == 0 || in.anyRoute)
		}
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if len(m.Data) >= ndmsgSize {
			out.host = in.vxlans[int32(nl.NativeEndian().Uint32(m.Data[ndmsgIndex:]))]
		}
	case unix.RTM_NEWNETCONF:
		out.sysctls = true
	}
	return out
}

func (in *interest) judgeLink(data []byte, out *marks) {
	index := nl.DeserializeIfInfomsg(data).Index
	out.underlay = in.anyLink || in.underlays[index]
	out.proxies = in.underlays[index] // a link that goes down loses its entries, which have no events
	if out.host = in.links[index]; out.host {
		return
	}
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfInfomsg:])
	if err != nil {
		out.host = true
		return
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_IFALIAS:
			out.host = out.host || len(a.Value) >= len(in.alias) && string(a.Value[:len(in.alias)]) == in.alias
		case unix.IFLA_IFNAME:
			out.host = out.host || nameOfOurs.MatchString(unix.ByteSliceToString(a.Value))
		}
	}
}

// interests makes the interest of the last observation. The caller holds
// t.mu.
func (t *Target) interests(links []kernelLink) *interest {
	in := &interest{links: map[int32]bool{}, vxlans: map[int32]bool{}, pods: map[int]string{}, underlays: map[int32]bool{}, alias: t.alias}
	for _, l := range links {
		if t.ours(l) {
			in.links[int32(l.index)] = true
			if l.Type() == string(reconciler.LinkVXLAN) {
				in.vxlans[int32(l.index)] = true
			}
		}
	}
	for _, p := range t.pods {
		if p.nsid >= 0 {
			in.pods[p.nsid] = p.name
		}
	}
	t.underlayInterest(in)
	return in
}
