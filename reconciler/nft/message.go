package nft

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// attribute is one netlink attribute, without its flags.
type attribute struct {
	kind uint16
	data []byte
}

// text reads a null-terminated string.
func (a attribute) text() string {
	if n := len(a.data); n > 0 && a.data[n-1] == 0 {
		return string(a.data[:n-1])
	}
	return string(a.data)
}

// uint32 reads a number in network byte order.
func (a attribute) uint32() uint32 {
	if len(a.data) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(a.data)
}

// attributes yields the attributes in b. It stops at the first malformed one:
// what the kernel sends is well formed.
func attributes(b []byte) iter.Seq[attribute] {
	return func(yield func(attribute) bool) {
		for len(b) >= unix.NLA_HDRLEN {
			length := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if length < unix.NLA_HDRLEN || length > len(b) {
				return
			}
			if !yield(attribute{kind, b[unix.NLA_HDRLEN:length]}) {
				return
			}
			b = b[min((length+3)&^3, len(b)):]
		}
	}
}

// find gives the first attribute of a kind.
func find(b []byte, kind uint16) (attribute, bool) {
	for a := range attributes(b) {
		if a.kind == kind {
			return a, true
		}
	}
	return attribute{}, false
}

// header is the length of struct nfgenmsg, which precedes the attributes.
const header = 4

// message makes a message to a netfilter subsystem about a family.
func message(kind netlink.HeaderType, flags netlink.HeaderFlags, f byte, attrs ...netlink.Attribute) (netlink.Message, error) {
	body, err := netlink.MarshalAttributes(attrs)
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | flags},
		Data:   append([]byte{f, unix.NFNETLINK_V0, 0, 0}, body...),
	}, err
}

// request asks for messages of a netfilter subsystem and family and yields
// the answers' attributes as they arrive.
func request(conn *netlink.Conn, kind netlink.HeaderType, flags netlink.HeaderFlags, f byte, attrs ...netlink.Attribute) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		m, err := message(kind, flags, f, attrs...)
		if err != nil {
			yield(nil, err)
			return
		}
		if _, err := conn.Send(m); err != nil {
			yield(nil, fmt.Errorf("asking for %#x: %w", kind, err))
			return
		}
		for m, err := range conn.ReceiveIter() {
			if err != nil {
				yield(nil, err)
				return
			}
			if len(m.Data) < header {
				continue
			}
			if !yield(m.Data[header:], nil) {
				return
			}
		}
	}
}

// nftablesType gives the netlink type of an nf_tables message.
func nftablesType(message int) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message)
}

// stringAttribute makes an attribute of a null-terminated string.
func stringAttribute(kind uint16, s string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(s), 0)}
}
