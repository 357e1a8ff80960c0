package announce

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// The operations of ARP (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
)

// arpFrame is the Ethernet frame of a gratuitous ARP: a broadcast of which
// sender and target are the address. RFC 5227 section 3 prefers requests, some
// devices heed replies only.
func arpFrame(operation uint16, mac net.HardwareAddr, address netip.Addr) []byte {
	const ethernet, ipv4 = 1, 0x0800
	ip := address.AsSlice()
	b := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	b = binary.BigEndian.AppendUint16(b, 0x0806) // EtherType of ARP
	b = binary.BigEndian.AppendUint16(b, ethernet)
	b = binary.BigEndian.AppendUint16(b, ipv4)
	b = append(b, byte(len(mac)), byte(len(ip)))
	b = binary.BigEndian.AppendUint16(b, operation)
	b = append(append(b, mac...), ip...)
	target := make([]byte, len(mac)) // unknown in a request
	if operation == arpReply {
		target = mac
	}
	return append(append(b, target...), ip...)
}

// advertisement is an unsolicited neighbour advertisement without its
// checksum (RFC 4861 section 4.4). The override flag makes neighbours replace
// what they remember.
func advertisement(mac net.HardwareAddr, address netip.Addr) []byte {
	const kind, override, targetLinkLayer = 136, 0x20, 2
	b := []byte{kind, 0, 0, 0, override, 0, 0, 0}
	b = append(b, address.AsSlice()...)
	return append(append(b, targetLinkLayer, 1), mac...)
}
