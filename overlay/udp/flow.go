package udp

import (
	"encoding/binary"
	"math/bits"
)

// flows is how many numbers there are for inner flows.
const flows = 8

// flowOf gives packets of one inner flow the same small number: by addresses,
// protocol and, unless it is a fragment, the ports.
func flowOf(packet []byte) uint8 {
	var h uint64
	transport, protocol, fragment := headerIPv6, packet[6], false
	if packet[0]>>4 == 4 {
		transport, protocol = int(packet[0]&15)*4, packet[9]
		fragment = packet[6]&0x3f|packet[7] != 0
		h = binary.NativeEndian.Uint64(packet[12:])
	} else {
		for i := 8; i < 40; i += 8 {
			h = mix(h, binary.NativeEndian.Uint64(packet[i:]))
		}
	}
	if !fragment && (protocol == protocolTCP || protocol == protocolUDP) && len(packet) >= transport+4 {
		h = mix(h, uint64(binary.NativeEndian.Uint32(packet[transport:])))
	}
	return uint8(mix(h, uint64(protocol)) >> 32 % flows)
}

// mix adds a word to a hash.
func mix(h, word uint64) uint64 {
	hi, lo := bits.Mul64(h^word^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return hi ^ lo
}
