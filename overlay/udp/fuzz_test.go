package udp

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// once is a device that keeps what is written, and a connection that has one
// datagram.
type once struct {
	datagram Datagram
	written  [][]byte
}

func (o *once) Local() netip.AddrPort              { return netip.AddrPort{} }
func (o *once) Close() error                       { return nil }
func (o *once) Lanes() int                         { return 1 }
func (o *once) Write(int, []Datagram) (int, error) { return 0, net.ErrClosed }

func (o *once) Read(_ int, batch []Datagram) (int, error) {
	batch[0].Data = append(batch[0].Data[:0], o.datagram.Data...)
	batch[0].Addr = o.datagram.Addr
	return 1, nil
}

type onceDevice struct{ *once }

func (onceDevice) Name() string                           { return "poplin0" }
func (onceDevice) Lanes() int                             { return 1 }
func (onceDevice) Read(int, []byte, []Burst) (int, error) { return 0, net.ErrClosed }

func (d onceDevice) Write(_ int, _ Offload, parts [][]byte) error {
	d.written = append(d.written, slices.Concat(parts...))
	return nil
}

// FuzzInbound sends anything from anywhere: what reaches the kernel is
// unchanged, comes from the peer that owns its source, and stays here.
// Everything else is counted.
func FuzzInbound(f *testing.F) {
	for _, from := range []string{"192.0.2.2", "2001:db8::3", "192.0.2.9"} {
		address := netip.MustParseAddr(from).AsSlice()
		f.Add(address, packetOf("10.244.2.9", "10.244.1.5", 8))
		f.Add(address, packetOf("fd00:3::9", "fd00:1::5", 8))
		f.Add(address, packetOf("10.244.2.9", "10.244.3.5", 8)[:21])
		f.Add(address, []byte{0x10, 0, 1})
	}
	f.Fuzz(func(t *testing.T, address, data []byte) {
		from, _ := netip.AddrFromSlice(address)
		data = data[:min(len(data), MaxPacket)]
		wire := &once{datagram: Datagram{Data: data, Addr: netip.AddrPortFrom(from, 1)}}
		tunnel := New(Options{Device: onceDevice{wire}, Conn: wire, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		tunnel.SetPeers(cluster())
		if err := newInbound(tunnel, wire, 0).round(); err != nil {
			t.Fatal(err)
		}
		dropped := uint64(0)
		for _, n := range tunnel.Counters().Drops {
			dropped += n
		}
		if dropped+uint64(len(wire.written)) != 1 {
			t.Fatalf("%d dropped, %d written", dropped, len(wire.written))
		}
		for _, packet := range wire.written {
			h, _ := parseHeader(packet)
			if !slices.Equal(packet, data) || oracle(cluster()).accepts(from, h.source, h.destination) != accepted {
				t.Fatalf("from %s: wrote %x", from, packet)
			}
		}
	})
}
