package udp

import "encoding/binary"

// Protocols, and what is looked at in their headers (RFC 768, 9293).
const (
	protocolTCP = 6
	protocolUDP = 17

	headerUDP = 8  // bytes
	headerTCP = 20 // bytes, without options

	tcpChecksum = 16 // offset in bytes
	udpChecksum = 6

	flagFIN, flagPSH = 0x01, 0x08
)

// splitter cuts a burst into the packets that the kernel's own segmentation
// would make of it (net/ipv4/tcp_offload.c, udp_offload.c): headers repeated,
// sequence numbers and identifications counted up, FIN and PSH on the last
// one only, lengths set, and checksums completed.
type splitter struct {
	data      []byte
	transport int // offset of the transport header
	header    int // bytes of both headers
	size      int // bytes of payload in each packet but the last
	tcp       bool
	pseudo    uint64
	sequence  uint32
	id        uint16
}

// newSplitter looks at a burst that has a whole IP header, and reports
// whether it can be cut.
func newSplitter(data []byte, o Offload) (s splitter, ok bool) {
	s = splitter{data: data, transport: int(o.ChecksumStart), size: int(o.SegmentSize)}
	ip := headerIPv6
	if data[0]>>4 == 4 {
		ip = int(data[0]&15) * 4
	}
	if s.size == 0 || s.transport < ip || len(data) < s.transport+headerUDP {
		return s, false
	}
	switch o.Kind {
	case segmentsTCP4, segmentsTCP6:
		s.tcp = true
		if len(data) < s.transport+headerTCP {
			return s, false
		}
		s.header = s.transport + int(data[s.transport+12]>>4)*4
		s.pseudo = pseudoSum(data, protocolTCP)
		s.sequence = binary.BigEndian.Uint32(data[s.transport+4:])
	case segmentsUDP:
		s.header = s.transport + headerUDP
		s.pseudo = pseudoSum(data, protocolUDP)
	default:
		return s, false
	}
	s.id = binary.BigEndian.Uint16(data[4:]) // of IPv4
	return s, s.header <= len(data) && (!s.tcp || s.header >= s.transport+headerTCP)
}

// count is the number of packets.
func (s *splitter) count() int { return max(1, (len(s.data)-s.header+s.size-1)/s.size) }

// length is that of the i-th packet in bytes.
func (s *splitter) length(i int) int { return s.header + min(s.size, len(s.data)-s.header-i*s.size) }

// write makes the i-th packet in out, which has its length.
func (s *splitter) write(i int, out []byte) {
	copy(out, s.data[:s.header])
	copy(out[s.header:], s.data[s.header+i*s.size:])
	if out[0]>>4 == 4 {
		binary.BigEndian.PutUint16(out[4:], s.id+uint16(i))
	}
	fixHeader(out, len(out))
	segment := out[s.transport:]
	at := udpChecksum
	if s.tcp {
		at = tcpChecksum
		binary.BigEndian.PutUint32(segment[4:], s.sequence+uint32(i*s.size))
		if i < s.count()-1 {
			segment[13] &^= flagFIN | flagPSH
		}
	} else {
		binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)))
	}
	put(segment[at:], 0)
	c := ^fold(sum(segment, s.pseudo+wire(uint16(len(segment)))))
	if c == 0 {
		c = 0xffff
	}
	put(segment[at:], c)
}
