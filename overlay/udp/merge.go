package udp

import (
	"bytes"
	"encoding/binary"
)

// maxParts is how many packets are merged into one burst, at most.
const maxParts = 128

// merger makes bursts of packets that follow each other in one flow, by the
// rules of the kernel's GRO: only what segmentation would cut into the very
// same packets is merged. It is the inverse of splitter.
type merger struct {
	parts [][]byte // the first packet, then the payloads of the others
	flow  flowHeader
	next  uint32 // the sequence number that would follow (TCP)
	total int    // bytes
	whole bool   // nothing can follow: a short packet, or one with PSH
	valid bool   // the first packet's checksum was looked at
}

// flowHeader is where things are in a packet that can be merged.
type flowHeader struct {
	transport, header int // bytes to the transport header, to the payload
	payload           int // bytes
	protocol          uint8
}

func newMerger() *merger { return &merger{parts: make([][]byte, 0, maxParts)} }

// parseFlow looks at a packet, and reports whether it may be merged with
// others: TCP with payload and no flags but ACK, PSH, or UDP; no options in
// the IP header, no fragments, no bytes behind the packet.
func parseFlow(p []byte) (f flowHeader, ok bool) {
	switch {
	case len(p) >= headerIPv4+headerUDP && p[0] == 0x45:
		if p[6]&^0x40 != 0 || p[7] != 0 || int(binary.BigEndian.Uint16(p[2:])) != len(p) {
			return f, false
		}
		f.transport, f.protocol = headerIPv4, p[9]
	case len(p) >= headerIPv6+headerUDP && p[0]>>4 == 6:
		if headerIPv6+int(binary.BigEndian.Uint16(p[4:])) != len(p) {
			return f, false
		}
		f.transport, f.protocol = headerIPv6, p[6]
	default:
		return f, false
	}
	t := p[f.transport:]
	switch f.protocol {
	case protocolTCP:
		if len(t) < headerTCP || t[13]&^flagPSH != 0x10 || t[12]>>4 < 5 {
			return f, false
		}
		f.header = f.transport + int(t[12]>>4)*4
	case protocolUDP:
		// A checksum of 0 says that there is none, which merging would change.
		if int(binary.BigEndian.Uint16(t[4:])) != len(t) || t[6]|t[7] == 0 {
			return f, false
		}
		f.header = f.transport + headerUDP
	default:
		return f, false
	}
	f.payload = len(p) - f.header
	return f, f.payload > 0
}

// checksumGood verifies the checksum of the transport.
func (f *flowHeader) checksumGood(p []byte) bool {
	t := p[f.transport:]
	return fold(sum(t, pseudoSum(p, f.protocol)+wire(uint16(len(t))))) == 0xffff
}

// start begins with a packet. One that cannot be merged stays alone.
func (m *merger) start(p []byte, f flowHeader, mergeable bool) {
	m.parts = append(m.parts[:0], p)
	m.flow, m.total, m.whole, m.valid = f, len(p), !mergeable, false
	if mergeable && f.protocol == protocolTCP {
		m.next = binary.BigEndian.Uint32(p[f.transport+4:]) + uint32(f.payload)
		m.whole = p[f.transport+13]&flagPSH != 0
	}
}

// add appends a packet to what was begun, if it is the next of the flow.
func (m *merger) add(p []byte, f flowHeader) bool {
	if m.whole || len(m.parts) == 0 || len(m.parts) == maxParts ||
		f.protocol != m.flow.protocol || f.header != m.flow.header || f.transport != m.flow.transport ||
		f.payload > m.flow.payload || m.total+f.payload > MaxPacket || !m.sameHeader(p) {
		return false
	}
	if !m.valid && !m.flow.checksumGood(m.parts[0]) || !f.checksumGood(p) {
		return false // what is wrong must stay so, for the receiver to see
	}
	m.valid = true
	m.parts = append(m.parts, p[f.header:])
	m.total += f.payload
	m.next += uint32(f.payload)
	m.whole = f.payload < m.flow.payload
	if f.protocol == protocolTCP && p[f.transport+13]&flagPSH != 0 {
		m.parts[0][f.transport+13] |= flagPSH
		m.whole = true
	}
	return true
}

// sameHeader compares a packet's headers with those of the first one: all but
// lengths, checksums and what counts up must be the same.
func (m *merger) sameHeader(p []byte) bool {
	first := m.parts[0]
	if p[0]>>4 == 4 {
		// DF makes the identification meaningless (RFC 6864); without it, it
		// counts up, as segmentation would count.
		if p[1] != first[1] || p[6] != first[6] || !bytes.Equal(p[8:10], first[8:10]) || !bytes.Equal(p[12:20], first[12:20]) {
			return false
		}
		counted := binary.BigEndian.Uint16(first[4:]) + uint16(len(m.parts))
		if p[6]&0x40 == 0 && binary.BigEndian.Uint16(p[4:]) != counted {
			return false
		}
	} else if !bytes.Equal(p[:4], first[:4]) || !bytes.Equal(p[6:40], first[6:40]) {
		return false
	}
	a, b := first[m.flow.transport:m.flow.header], p[m.flow.transport:m.flow.header]
	if !bytes.Equal(a[:4], b[:4]) {
		return false
	}
	return m.flow.protocol == protocolUDP || binary.BigEndian.Uint32(b[4:]) == m.next &&
		bytes.Equal(a[8:13], b[8:13]) && bytes.Equal(a[14:16], b[14:16]) && bytes.Equal(a[18:], b[18:])
}

// finish makes a burst of what was merged, and changes the first packet's
// headers accordingly. A packet that stayed alone is not touched.
func (m *merger) finish() (o Offload) {
	if len(m.parts) < 2 {
		return o
	}
	first, f := m.parts[0], m.flow
	fixHeader(first, m.total)
	o = Offload{
		Flags: needsChecksum, HeaderLength: uint16(f.header), SegmentSize: uint16(f.payload),
		ChecksumStart: uint16(f.transport), ChecksumOffset: tcpChecksum,
	}
	switch {
	case f.protocol == protocolUDP:
		o.Kind, o.ChecksumOffset = segmentsUDP, udpChecksum
		binary.BigEndian.PutUint16(first[f.transport+4:], uint16(m.total-f.transport))
	case first[0]>>4 == 4:
		o.Kind = segmentsTCP4
	default:
		o.Kind = segmentsTCP6
	}
	partial := fold(pseudoSum(first, f.protocol) + wire(uint16(m.total-f.transport)))
	put(first[f.transport+int(o.ChecksumOffset):], partial)
	return o
}
