package udp

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum (RFC 1071) is added up in words of 64 bits with their
// carries, which gives the same once it is folded to 16, and in the order of
// bytes of the wire.

// sum adds data to a sum that is not folded.
func sum(data []byte, initial uint64) uint64 {
	s, carry := initial, uint64(0)
	for len(data) >= 64 {
		d := data[:64:64]
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(d[0:]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(d[8:]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(d[16:]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(d[24:]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(d[32:]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(d[40:]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(d[48:]), carry)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(d[56:]), carry)
		data = data[64:]
	}
	for len(data) >= 8 {
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(data), carry)
		data = data[8:]
	}
	if len(data) > 0 {
		var last [8]byte
		copy(last[:], data)
		s, carry = bits.Add64(s, binary.NativeEndian.Uint64(last[:]), carry)
	}
	s, carry = bits.Add64(s, 0, carry)
	return s + carry
}

// fold makes a checksum of a sum, as it stands in memory.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff // at most 0x2fffd
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// wire is a number as its two bytes in a packet add to a sum.
func wire(v uint16) uint64 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return uint64(binary.NativeEndian.Uint16(b[:]))
}

// pseudoSum adds up the pseudo-header of a packet (RFC 9293, 8200) but for
// the length of what follows.
func pseudoSum(packet []byte, protocol uint8) uint64 {
	if packet[0]>>4 == 4 {
		return sum(packet[12:20], wire(uint16(protocol)))
	}
	return sum(packet[8:40], wire(uint16(protocol)))
}

// put stores a folded sum.
func put(at []byte, folded uint16) { binary.NativeEndian.PutUint16(at, folded) }

// fixHeader sets the length in an IP header, and the header's checksum.
func fixHeader(packet []byte, length int) {
	if packet[0]>>4 == 6 {
		binary.BigEndian.PutUint16(packet[4:], uint16(length-headerIPv6))
		return
	}
	binary.BigEndian.PutUint16(packet[2:], uint16(length))
	put(packet[10:], 0)
	put(packet[10:], ^fold(sum(packet[:packet[0]&15*4], 0)))
}

// completeChecksum adds up what the sender left to do (CHECKSUM_PARTIAL: the
// field holds the sum of the pseudo-header), and reports whether the packet
// has the field at all.
func completeChecksum(packet []byte, o Offload) bool {
	start := int(o.ChecksumStart)
	at := start + int(o.ChecksumOffset)
	if at+2 > len(packet) {
		return false
	}
	c := ^fold(sum(packet[start:], 0))
	if c == 0 {
		c = 0xffff // 0 means "none" in UDP, and TCP takes either
	}
	put(packet[at:], c)
	return true
}
