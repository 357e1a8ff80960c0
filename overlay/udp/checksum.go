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
	blocks, n := sumBlocks(data)
	s, carry := bits.Add64(initial, blocks, 0)
	return sumPlain(data[n:], s, carry)
}

// sumPlain adds data and a carry to a sum. Four chains of additions that do
// not wait for each other's carries are more than twice as fast as one.
func sumPlain(data []byte, initial, carry uint64) uint64 {
	a, b, c, d := initial, uint64(0), uint64(0), uint64(0)
	for len(data) >= 128 {
		p := data[:128:128]
		a = add4(a, p[0:32])
		b = add4(b, p[32:64])
		c = add4(c, p[64:96])
		d = add4(d, p[96:128])
		data = data[128:]
	}
	s, carry := bits.Add64(a, b, carry)
	s, carry = bits.Add64(s, c, carry)
	s, carry = bits.Add64(s, d, carry)
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

// add4 adds four words; it is inlined.
func add4(s uint64, p []byte) uint64 {
	s, carry := bits.Add64(s, binary.NativeEndian.Uint64(p[0:8]), 0)
	s, carry = bits.Add64(s, binary.NativeEndian.Uint64(p[8:16]), carry)
	s, carry = bits.Add64(s, binary.NativeEndian.Uint64(p[16:24]), carry)
	s, carry = bits.Add64(s, binary.NativeEndian.Uint64(p[24:32]), carry)
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
