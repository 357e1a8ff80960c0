package nft

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

// sctpInit is an SCTP packet that opens an association (RFC 9260).
func sctpInit(from, to uint16) []byte {
	b := make([]byte, 12, 32)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	b = append(b, 1, 0, 0, 20)  // INIT, its length
	b = append(b, 0, 0, 0, 1)   // initiate tag
	b = append(b, 0, 0, 255, 0) // window
	b = append(b, 0, 1, 0, 1)   // streams out and in
	b = append(b, 0, 0, 0, 1)   // first TSN
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// Many kernels have no SCTP sockets; raw ones do to see where a packet goes.
func TestSCTP(t *testing.T) {
	w := newNetwork(t)
	s := service{name: "sctp", address: netip.MustParseAddr(vips[0]), protocol: reconciler.SCTP, port: 9,
		targets: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(podsC[0]), 8080)}}
	node := s
	node.name, node.nodePort, node.port = "node", true, 30009
	reach(t, w.target, state(w.ranges(), s, node))
	var listener *net.IPConn
	if err := w.podC.do(func() (err error) {
		listener, err = net.ListenIP("ip4:132", &net.IPAddr{IP: net.ParseIP(podsC[0])})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	for _, way := range []struct {
		from *netns
		to   string
		port uint16
	}{{w.podA, vips[0], 9}, {w.node, vips[0], 9}, {w.podA, nodes[0], 30009}} {
		if err := way.from.do(func() error {
			c, err := net.DialIP("ip4:132", nil, &net.IPAddr{IP: net.ParseIP(way.to)})
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			_, err = c.Write(sctpInit(5000, way.port))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1500)
		if err := listener.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// ReadMsgIP leaves the IPv4 header where it is.
		n, _, _, _, err := listener.ReadMsgIP(b, nil)
		packet := b[min(n, int(b[0]&15)*4):n]
		if err != nil || len(packet) < 12 || binary.BigEndian.Uint16(packet[2:]) != 8080 {
			t.Errorf("to %s: %x, %v", way.to, b[:n], err)
		}
	}
}
