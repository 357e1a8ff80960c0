package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// Attributes and messages of ctnetlink (linux/netfilter/nfnetlink_conntrack.h,
// nf_conntrack_common.h) that golang.org/x/sys/unix does not know.
const (
	conntrackGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	conntrackDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	ctaTupleOrig   = 1
	ctaTupleReply  = 2
	ctaStatus      = 3
	ctaID          = 12
	ctaZone        = 18
	ctaFilter      = 25
	ctaFilterOrig  = 1
	ctaTupleIP     = 1
	ctaTupleProto  = 2
	ctaProtoNumber = 1
	ctaProtoSource = 2
	ctaProtoTarget = 3

	ctaIPv4Destination = 2

	filterDestination = 1 << 1
	filterProtocol    = 1 << 3
	filterPort        = 1 << 5

	statusSeenReply = 1 << 1
	statusDstNAT    = 1 << 5
)

// filteredDumps is the number of frontends up to which the kernel is asked
// for each one's connections; beyond, it is asked once for all of a family.
// Each question makes it walk its whole table (7 ms at 262,144 buckets), but
// what it leaves out costs next to nothing.
const filteredDumps = 4

// connection is a tracked connection as far as stale asks.
type connection struct {
	protocol   reconciler.Protocol
	to         netip.AddrPort // where the client sends
	endpoint   netip.AddrPort // who answers
	translated bool           // its destination was
	replied    bool           // the endpoint has answered
	tuple      []byte         // names the connection to the kernel
	id, zone   []byte
}

// dump is one question to the kernel.
type dump struct {
	family reconciler.Family
	filter []netlink.Attribute
}

// dumps says what to ask for frontends: each by itself if they are few.
func dumps(list []frontend) []dump {
	var out []dump
	if len(list) <= filteredDumps {
		for _, f := range list {
			out = append(out, dump{f.family, filter(f)})
		}
		return out
	}
	seen := map[reconciler.Family]bool{}
	for _, f := range list {
		if !seen[f.family] {
			seen[f.family] = true
			out = append(out, dump{family: f.family})
		}
	}
	return out
}

// filter makes the kernel give only connections to a frontend (Linux 5.8).
// An IPv6 address is left out: up to Linux 6.18 at least the comparison is the
// wrong way round, and the kernel gives all connections but those wanted.
func filter(f frontend) []netlink.Attribute {
	flags := uint32(filterProtocol)
	if f.port != 0 {
		flags |= filterPort
	}
	proto := nest(ctaTupleProto,
		netlink.Attribute{Type: ctaProtoNumber, Data: []byte{byte(f.protocol)}},
		netlink.Attribute{Type: ctaProtoTarget, Data: binary.BigEndian.AppendUint16(nil, f.port)})
	ip := nest(ctaTupleIP)
	if f.address.Is4() {
		flags |= filterDestination
		ip = nest(ctaTupleIP, netlink.Attribute{Type: ctaIPv4Destination, Data: f.address.AsSlice()})
	}
	return []netlink.Attribute{
		nest(ctaTupleOrig, ip, proto),
		nest(ctaFilter, netlink.Attribute{Type: ctaFilterOrig, Data: binary.NativeEndian.AppendUint32(nil, flags)}),
	}
}

// nest puts attributes into one. Their sizes are far below the limit, so
// they can always be encoded.
func nest(kind uint16, attrs ...netlink.Attribute) netlink.Attribute {
	data, _ := netlink.MarshalAttributes(attrs)
	return netlink.Attribute{Type: kind | unix.NLA_F_NESTED, Data: data}
}

// parseConnection reads a connection that has ports.
func parseConnection(m []byte) (c connection, ok bool) {
	var status uint32
	for a := range attributes(m) {
		switch a.kind {
		case ctaTupleOrig:
			c.tuple = a.data
			_, c.to, c.protocol = parseTuple(a.data)
		case ctaTupleReply:
			c.endpoint, _, _ = parseTuple(a.data)
		case ctaStatus:
			status = a.uint32()
		case ctaID:
			c.id = a.data
		case ctaZone:
			c.zone = a.data
		}
	}
	c.translated, c.replied = status&statusDstNAT != 0, status&statusSeenReply != 0
	return c, c.to.Port() != 0 && c.endpoint.IsValid()
}

// parseTuple reads one direction of a connection.
func parseTuple(b []byte) (from, to netip.AddrPort, p reconciler.Protocol) {
	var source, target netip.Addr
	var sourcePort, targetPort uint16
	for a := range attributes(b) {
		for part := range attributes(a.data) {
			switch {
			case a.kind == ctaTupleIP && part.kind%2 == 1: // CTA_IP_V4_SRC, CTA_IP_V6_SRC
				source, _ = netip.AddrFromSlice(part.data)
			case a.kind == ctaTupleIP:
				target, _ = netip.AddrFromSlice(part.data)
			case a.kind != ctaTupleProto:
			case part.kind == ctaProtoNumber && len(part.data) == 1:
				p = reconciler.Protocol(part.data[0])
			case part.kind == ctaProtoSource && len(part.data) == 2:
				sourcePort = binary.BigEndian.Uint16(part.data)
			case part.kind == ctaProtoTarget && len(part.data) == 2:
				targetPort = binary.BigEndian.Uint16(part.data)
			}
		}
	}
	return netip.AddrPortFrom(source, sourcePort), netip.AddrPortFrom(target, targetPort), p
}

// attributes name a connection to the kernel.
func (c connection) attributes() []netlink.Attribute {
	list := []netlink.Attribute{{Type: ctaTupleOrig | unix.NLA_F_NESTED, Data: c.tuple}, {Type: ctaID, Data: c.id}}
	if c.zone != nil {
		list = append(list, netlink.Attribute{Type: ctaZone, Data: c.zone})
	}
	return list
}

// now reads a connection again; ok is false if it is gone.
//
// The answer claims to be one of several (NLM_F_MULTI, Linux 6.18), and no
// end of them follows, which netlink.Conn would wait for. So its one datagram
// is read here.
func (c connection) now(conn *netlink.Conn, f reconciler.Family) (now connection, ok bool, err error) {
	m, err := message(conntrackGet, 0, byte(family(f)), c.attributes()...)
	if err == nil {
		_, err = conn.Send(m)
	}
	if err != nil {
		return connection{}, false, err
	}
	answer, err := datagram(conn)
	if err != nil || len(answer) < unix.NLMSG_HDRLEN+header {
		return connection{}, false, err
	}
	if binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])))
		if errno == unix.ENOENT {
			return connection{}, false, nil
		}
		return connection{}, false, errno
	}
	now, ok = parseConnection(answer[unix.NLMSG_HDRLEN+header:])
	return now, ok && bytes.Equal(now.id, c.id), nil
}

// datagram receives one datagram of a socket as it is.
func datagram(conn *netlink.Conn) ([]byte, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	buffer := make([]byte, 1<<13)
	n := 0
	e := raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return buffer[:max(n, 0)], errors.Join(e, err)
}

// deleteConnection deletes a connection; one that is gone is fine.
func deleteConnection(conn *netlink.Conn, f reconciler.Family, c connection) error {
	for _, err := range request(conn, conntrackDelete, netlink.Acknowledge, byte(family(f)), c.attributes()...) {
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// addressTest tells the addresses of this host.
type addressTest func(netip.Addr) bool

// localAddresses gives a test for the addresses of the namespace's host.
func localAddresses(netns int) (addressTest, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETADDR, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, unix.SizeofIfAddrmsg),
	})
	if err = errors.Join(err, conn.Close()); err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	known := map[netip.Addr]bool{}
	for _, m := range answers {
		if len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		for a := range attributes(m.Data[unix.SizeofIfAddrmsg:]) {
			if ip, ok := netip.AddrFromSlice(a.data); ok && (a.kind == unix.IFA_LOCAL || a.kind == unix.IFA_ADDRESS) {
				known[ip] = true
			}
		}
	}
	return func(a netip.Addr) bool { return known[a] || a.IsLoopback() }, nil
}
