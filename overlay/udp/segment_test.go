package udp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// slowSum is RFC 1071 word by word.
func slowSum(data []byte) uint16 {
	s := uint32(0)
	for i, b := range data {
		if i%2 == 0 {
			s += uint32(b) << 8
		} else {
			s += uint32(b)
		}
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

func TestSumAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(t, "data")
		if rapid.Bool().Draw(t, "ones") { // carries everywhere
			data = bytes.Repeat([]byte{0xff}, len(data))
		}
		initial := rapid.SampledFrom([]uint64{0, 0xffffffff_ffffffff}).Draw(t, "initial") // the same modulo 65535
		for name, s := range map[string]uint64{"sum": sum(data, initial), "plain": sumPlain(data, initial, 0)} {
			var got [2]byte
			put(got[:], fold(s))
			if want := slowSum(data); binary.BigEndian.Uint16(got[:])%0xffff != want%0xffff {
				t.Fatalf("%s: %x: %x, want %x", name, data, got, want)
			}
		}
	})
}

// segments describes a train of packets.
type segments struct {
	ipv6, tcp bool
	options   int // bytes of TCP options
	size      int // payload of each packet but the last
	payload   []byte
	push      bool
	id        uint16
	fragment  bool // IPv4 without DF
}

func drawSegments(t *rapid.T) segments {
	s := segments{
		ipv6: rapid.Bool().Draw(t, "ipv6"), tcp: rapid.Bool().Draw(t, "tcp"),
		size: rapid.IntRange(1, 1460).Draw(t, "size"),
		push: rapid.Bool().Draw(t, "push"), id: rapid.Uint16().Draw(t, "id"),
		fragment: rapid.Bool().Draw(t, "may be fragmented"),
	}
	if s.tcp {
		s.options = rapid.SampledFrom([]int{0, 12, 40}).Draw(t, "options")
	}
	n := rapid.IntRange(2, min(50, 65000/s.size)).Draw(t, "packets")
	length := rapid.IntRange((n-1)*s.size+1, n*s.size).Draw(t, "payload")
	random := rand.New(rand.NewPCG(uint64(length), 1))
	for range length {
		s.payload = append(s.payload, byte(random.Uint32()))
	}
	return s
}

// packet makes the i-th packet from the definitions of the protocols, not by
// means of the code under test.
func (s segments) packet(i int) []byte {
	payload := s.payload[i*s.size : min((i+1)*s.size, len(s.payload))]
	source, destination, ip := netip.MustParseAddr("10.244.2.9"), netip.MustParseAddr("10.244.1.5"), headerIPv4
	if s.ipv6 {
		source, destination, ip = netip.MustParseAddr("fd00:2::9"), netip.MustParseAddr("fd00:1::5"), headerIPv6
	}
	transport, at, protocol := headerUDP, 6, byte(protocolUDP)
	if s.tcp {
		transport, at, protocol = headerTCP+s.options, 16, protocolTCP
	}
	p := packetBetween(source, destination, transport+len(payload))
	copy(p[ip+transport:], payload)
	if s.ipv6 {
		p[6] = protocol
	} else {
		p[9] = protocol
		binary.BigEndian.PutUint16(p[4:], s.id+uint16(i))
		if !s.fragment {
			p[6] = 0x40
		}
		binary.BigEndian.PutUint16(p[10:], ^slowSum(p[:ip]))
	}
	t := p[ip:]
	binary.BigEndian.PutUint32(t, 0x1389c001)
	if s.tcp {
		binary.BigEndian.PutUint32(t[4:], 0xfffff000+uint32(i*s.size)) // wraps
		t[12], t[13] = byte(transport/4)<<4, 0x10
		if s.push && (i+1)*s.size >= len(s.payload) {
			t[13] |= flagPSH
		}
		copy(t[headerTCP:], bytes.Repeat([]byte{1}, s.options)) // no-operation
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	}
	pseudo := append(append(source.AsSlice(), destination.AsSlice()...), 0, protocol, byte(len(t)>>8), byte(len(t)))
	c := ^slowSum(append(pseudo, t...))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(t[at:], c)
	return p
}

func (s segments) packets() (list [][]byte) {
	for i := 0; i*s.size < len(s.payload); i++ {
		list = append(list, s.packet(i))
	}
	return list
}

// TestMergeAndSplit merges the packets of a flow and splits them again.
func TestMergeAndSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSegments(t)
		m, packets := newMerger(), s.packets()
		for i, p := range packets {
			p = bytes.Clone(p)
			f, ok := parseFlow(p)
			if !ok {
				t.Fatalf("packet %d cannot be merged", i)
			}
			if i == 0 {
				m.start(p, f, true)
			} else if !m.add(p, f) {
				t.Fatalf("packet %d is not merged", i)
			}
		}
		o := m.finish()
		splitter, ok := newSplitter(bytes.Join(m.parts, nil), o)
		if !ok || splitter.count() != len(packets) {
			t.Fatalf("%+v: %t, %d packets of %d", o, ok, splitter.count(), len(packets))
		}
		for i, want := range packets {
			got := bytes.Repeat([]byte{0xaa}, splitter.length(i))
			if splitter.write(i, got); !bytes.Equal(got, want) {
				t.Fatalf("packet %d of %d:\n%x, want\n%x", i, len(packets), got[:min(100, len(got))], want[:min(100, len(want))])
			}
		}
	})
}

// TestMergeKeepsApart changes one thing in the second of three packets that
// could be merged otherwise.
func TestMergeKeepsApart(t *testing.T) {
	tcp := segments{tcp: true, options: 12, size: 100, payload: make([]byte, 300), fragment: true}
	udp := segments{size: 100, payload: make([]byte, 300), fragment: true}
	tcp6, udp6 := tcp, udp
	tcp6.ipv6, udp6.ipv6 = true, true
	for _, test := range []struct {
		name     string
		of       segments
		at       int
		xor      byte
		checksum bool // whether to mend the checksums
	}{
		{"traffic class", tcp, 1, 1, true}, {"identification", tcp, 5, 1, true}, {"more fragments", tcp, 6, 0x20, true},
		{"TTL", tcp, 8, 1, true}, {"source", tcp, 15, 1, true}, {"destination", tcp, 19, 1, true},
		{"source port", tcp, 21, 1, true}, {"destination port", udp, 23, 1, true}, {"sequence", tcp, 27, 1, true},
		{"acknowledgement", tcp, 31, 1, true}, {"FIN", tcp, 33, 1, true}, {"SYN", tcp, 33, 2, true}, {"RST", tcp, 33, 4, true},
		{"URG", tcp, 33, 0x20, true}, {"CWR", tcp, 33, 0x80, true}, {"window", tcp, 35, 1, true},
		{"urgent pointer", tcp, 39, 1, true}, {"option", tcp, 41, 1, true},
		{"checksum of TCP", tcp, 60, 1, false}, {"checksum of UDP", udp, 40, 1, false},
		{"flow label", tcp6, 3, 1, true}, {"hop limit", tcp6, 7, 1, true}, {"IPv6 source", udp6, 20, 1, true},
		{"IPv6 checksum of TCP", tcp6, 80, 1, false}, {"IPv6 checksum of UDP", udp6, 60, 1, false},
		{"reserved bits", tcp, 32, 1, true},
	} {
		packets := test.of.packets()
		p := packets[1]
		p[test.at] ^= test.xor
		if test.checksum {
			mend(p)
		}
		m := newMerger()
		f, _ := parseFlow(packets[0])
		m.start(packets[0], f, true)
		if f, ok := parseFlow(p); ok && m.add(p, f) {
			t.Errorf("%s: merged", test.name)
		}
	}
}

// mend makes the checksums of a packet right.
func mend(p []byte) {
	ip, protocol := headerIPv4, p[9]
	if p[0]>>4 == 6 {
		ip, protocol = headerIPv6, p[6]
	}
	fixHeader(p, len(p))
	at := ip + udpChecksum
	if protocol == protocolTCP {
		at = ip + tcpChecksum
	}
	put(p[at:], fold(pseudoSum(p, protocol)+wire(uint16(len(p)-ip))))
	completeChecksum(p, Offload{ChecksumStart: uint16(ip), ChecksumOffset: uint16(at - ip)})
}

// A first packet whose checksum is wrong must not be mended by merging.
func TestMergeKeepsWrongChecksum(t *testing.T) {
	s := segments{tcp: true, size: 100, payload: make([]byte, 200)}
	packets := s.packets()
	packets[0][60] ^= 1
	m := newMerger()
	f, _ := parseFlow(packets[0])
	m.start(packets[0], f, true)
	f, _ = parseFlow(packets[1])
	if m.add(packets[1], f) {
		t.Error("merged")
	}
}

// FuzzSplit and what is merged: nothing that arrives may make them fail.
func FuzzSplit(f *testing.F) {
	s := segments{tcp: true, size: 10, payload: make([]byte, 30)}
	f.Add(s.packet(0), byte(1), uint16(10), uint16(20))
	s.ipv6, s.tcp = true, false
	f.Add(s.packet(0), byte(5), uint16(10), uint16(40))
	f.Fuzz(func(t *testing.T, data []byte, kind byte, size, start uint16) {
		data = data[:min(len(data), MaxPacket)]
		if _, reason := parseHeader(data); reason != accepted {
			return
		}
		flowOf(data)
		if s, ok := newSplitter(data, Offload{Kind: kind, SegmentSize: size, ChecksumStart: start}); ok {
			for i := range s.count() {
				s.write(i, make([]byte, s.length(i)))
			}
		}
		if f, ok := parseFlow(data); ok {
			m := newMerger()
			m.start(data, f, true)
			m.add(bytes.Clone(data), f)
			m.finish()
		}
	})
}

func TestFlowOf(t *testing.T) {
	used := map[uint8]bool{}
	for port := range 200 {
		s := segments{tcp: true, size: 8, payload: make([]byte, 16)}
		a, b := s.packet(0), s.packet(1)
		a[20], b[20] = byte(port), byte(port)
		if flowOf(a) != flowOf(b) {
			t.Fatal("a flow has two numbers")
		}
		used[flowOf(a)] = true
	}
	if len(used) != flows {
		t.Errorf("%d numbers of %d are used", len(used), flows)
	}
	first, second := packetOf("10.244.2.9", "10.244.1.5", 40), packetOf("10.244.2.9", "10.244.1.5", 40)
	first[6], second[7], second[20] = 0x20, 5, 77 // fragments: the second has no ports
	if flowOf(first) != flowOf(second) {
		t.Error("fragments of a packet go apart")
	}
}
