package udp

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// packetOf makes a packet with a payload; the header has what the tunnel
// looks at, and a TTL to find unchanged.
func packetOf(source, destination string, payload int) []byte {
	return packetBetween(netip.MustParseAddr(source), netip.MustParseAddr(destination), payload)
}

func packetBetween(source, destination netip.Addr, payload int) []byte {
	if source.Is4() {
		p := make([]byte, headerIPv4+payload)
		p[0], p[8], p[9] = 0x45, 64, 17
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		copy(p[12:], source.AsSlice())
		copy(p[16:], destination.AsSlice())
		return p
	}
	p := make([]byte, headerIPv6+payload)
	p[0], p[6], p[7] = 0x60, 17, 64
	binary.BigEndian.PutUint16(p[4:], uint16(payload))
	copy(p[8:], source.AsSlice())
	copy(p[24:], destination.AsSlice())
	return p
}

func TestParseHeader(t *testing.T) {
	v4 := packetOf("10.0.0.1", "10.0.0.2", 8)
	v6 := packetOf("fd00::1", "fd00::2", 8)
	set := func(packet []byte, at int, value byte) []byte {
		p := append([]byte(nil), packet...)
		p[at] = value
		return p
	}
	for _, test := range []struct {
		name   string
		packet []byte
		want   Reason
	}{
		{"IPv4", v4, accepted},
		{"IPv4 with bytes behind it", append(v4[:len(v4):len(v4)], 1, 2, 3), accepted},
		{"IPv4 with options", set(v4, 0, 0x47), accepted},
		{"IPv6", v6, accepted},
		{"IPv6 with bytes behind it", append(v6[:len(v6):len(v6)], 1, 2, 3), accepted},
		{"nothing", nil, Truncated},
		{"one byte of IPv4", v4[:1], Truncated},
		{"IPv4 header cut", v4[:19], Truncated},
		{"IPv4 payload cut", v4[:27], Truncated},
		{"IPv4 header length too small", set(v4, 0, 0x44), Truncated},
		{"IPv4 options behind the end", set(v4, 0, 0x4f), Truncated},
		{"IPv4 total length less than the header", set(v4, 3, 19), Truncated},
		{"IPv6 header cut", v6[:39], Truncated},
		{"IPv6 payload cut", v6[:47], Truncated},
		{"a message between tunnels", set(v4, 0, 0x15), NotIP},
		{"version 5", set(v6, 0, 0x5f), NotIP},
		{"one byte of something", []byte{0xff}, NotIP},
	} {
		if _, got := parseHeader(test.packet); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	h, _ := parseHeader(v6)
	if h.source.String() != "fd00::1" || h.destination.String() != "fd00::2" {
		t.Errorf("addresses: %v", h)
	}
}
