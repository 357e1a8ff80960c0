package udp

import (
	"encoding/binary"
	"net/netip"
)

// MaxPacket is the size in bytes of the largest IPv4 packet.
const MaxPacket = 65535

const (
	headerIPv4 = 20 // bytes, without options (RFC 791)
	headerIPv6 = 40 // bytes, without extension headers (RFC 8200)
)

// header is what the tunnel looks at in a packet.
type header struct{ source, destination netip.Addr }

// parseHeader reads addresses from a packet: NotIP, Truncated or accepted.
// Bytes behind the packet's own length are left for the kernel to trim.
func parseHeader(packet []byte) (header, Reason) {
	if len(packet) == 0 {
		return header{}, Truncated
	}
	switch packet[0] >> 4 {
	case 4:
		if len(packet) < headerIPv4 {
			return header{}, Truncated
		}
		own, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
		if own < headerIPv4 || total < own || len(packet) < total {
			return header{}, Truncated
		}
		return header{
			netip.AddrFrom4([4]byte(packet[12:16])),
			netip.AddrFrom4([4]byte(packet[16:20])),
		}, accepted
	case 6:
		// A payload length of 0 is either an empty payload or a jumbogram
		// (RFC 2675), which is too large for a datagram.
		if len(packet) < headerIPv6 || len(packet) < headerIPv6+int(binary.BigEndian.Uint16(packet[4:])) {
			return header{}, Truncated
		}
		return header{
			netip.AddrFrom16([16]byte(packet[8:24])),
			netip.AddrFrom16([16]byte(packet[24:40])),
		}, accepted
	}
	return header{}, NotIP
}
