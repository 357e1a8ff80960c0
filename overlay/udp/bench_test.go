package udp

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"
)

// endless is a device and a connection that always have a full batch at hand
// and swallow what is written, so that only the tunnel's own work is measured.
type endless struct {
	packets []Datagram
	next    int

	offload  Offload
	burst    []byte
	segments Datagram
}

func (e *endless) take() Datagram {
	e.next = (e.next + 1) % len(e.packets)
	return e.packets[e.next]
}

// bulk makes the device and the connection give bursts of a flow, too.
func (e *endless) bulk() {
	flow := segments{tcp: true, options: 12, size: 1400, payload: make([]byte, 40*1400)}
	m := newMerger()
	var data []byte
	for i, p := range flow.packets() {
		data = append(data, p...)
		f, _ := parseFlow(p)
		if i == 0 {
			m.start(p, f, true)
		} else {
			m.add(p, f)
		}
	}
	e.offload = m.finish()
	e.burst = bytes.Join(m.parts, nil)
	e.segments = Datagram{Data: data, Segment: 1452, Addr: netip.MustParseAddrPort("192.0.2.2:8285")}
}

type endlessDevice struct{ *endless }

func (d endlessDevice) Name() string { return "poplin0" }
func (d endlessDevice) Close() error { return nil }

func (d endlessDevice) Lanes() int { return 1 }

func (d endlessDevice) Read(_ int, room []byte, bursts []Burst) (int, error) {
	if d.burst != nil {
		bursts[0] = Burst{Offload: d.offload, Data: room[:copy(room, d.burst)]}
		return 1, nil
	}
	for i := range bursts {
		data := d.take().Data
		bursts[i] = Burst{Data: room[:copy(room, data)]}
		room = room[len(data):]
	}
	return len(bursts), nil
}

func (d endlessDevice) Write(int, Offload, [][]byte) error { return nil }

type endlessConn struct{ *endless }

func (c endlessConn) Local() netip.AddrPort { return netip.AddrPort{} }
func (c endlessConn) Close() error          { return nil }

func (c endlessConn) Lanes() int { return 1 }

func (c endlessConn) Read(_ int, batch []Datagram) (int, error) {
	if c.burst != nil {
		d := &batch[0]
		d.Data, d.Segment, d.Addr = append(d.Data[:0], c.segments.Data...), c.segments.Segment, c.segments.Addr
		return 1, nil
	}
	for i := range batch {
		d := c.take()
		batch[i].Data, batch[i].Addr = append(batch[i].Data[:0], d.Data...), d.Addr
	}
	return len(batch), nil
}

func (c endlessConn) Write(_ int, batch []Datagram) (int, error) { return len(batch), nil }

// load is a tunnel with n peers, whose traffic is with all of them in turn;
// inbound or outbound. A good part of it is dropped if forged is set. Packets
// are small, because copying them is the test's work, not the tunnel's.
func load(n int, inbound, forged bool) (*Tunnel, endlessConn) {
	var peers []Peer
	e := new(endless)
	here := netip.MustParseAddr("10.0.0.1")
	for i := range n {
		pod := netip.AddrFrom4([4]byte{10, 100 + byte(i>>8), byte(i), 7})
		p := Peer{
			Node:     fmt.Sprint("node-", i),
			Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)}), 8285),
			Subnets:  []netip.Prefix{netip.PrefixFrom(pod, 24).Masked()},
		}
		peers = append(peers, p)
		packet := packetBetween(here, pod, 0)
		if inbound {
			packet = packetBetween(pod, here, 0)
		}
		if forged && i%2 == 0 {
			packet = packetBetween(here, here, 0)
		}
		e.packets = append(e.packets, Datagram{Data: packet, Addr: p.Endpoint})
	}
	conn := endlessConn{e}
	t := New(Options{Device: endlessDevice{e}, Conn: conn, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	t.SetPeers(peers)
	return t, conn
}

// path returns a function that moves one batch.
func path(n int, in, forged bool) func() error {
	t, conn := load(n, in, forged)
	if in {
		return newInbound(t, conn, 0).round
	}
	return newOutbound(t, 0).round
}

func BenchmarkPath(b *testing.B) {
	for _, direction := range []string{"outbound", "inbound"} {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/peers=%d", direction, n), func(b *testing.B) {
				round := path(n, direction == "inbound", false)
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += batchSize { // one iteration is one packet
					if err := round(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// bulkPath returns a function that moves a burst of 40 packets, between the
// peers of cluster.
func bulkPath(in bool) func() error {
	e := new(endless)
	e.bulk()
	conn, device := endlessConn{e}, &accepting{endlessDevice: endlessDevice{e}}
	t := New(Options{Device: device, Conn: conn, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if in {
		t.SetPeers(cluster())
		return newInbound(t, conn, 0).round
	}
	t.SetPeers([]Peer{peerOf("node-1", "192.0.2.1:8285", "10.244.1.0/24")})
	return newOutbound(t, 0).round
}

// accepting is a device to which packets are merged.
type accepting struct{ endlessDevice }

func (*accepting) Rungs() Rungs { return AllRungs }

func BenchmarkBulk(b *testing.B) {
	for _, direction := range []string{"outbound", "inbound"} {
		b.Run(direction, func(b *testing.B) {
			round := bulkPath(direction == "inbound")
			b.SetBytes(1400)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += 40 { // one iteration is one packet
				if err := round(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestBulkAllocatesNothing(t *testing.T) {
	for _, in := range []bool{false, true} {
		round := bulkPath(in)
		allocations := testing.AllocsPerRun(100, func() {
			if err := round(); err != nil {
				t.Fatal(err)
			}
		})
		if allocations != 0 {
			t.Errorf("inbound %t: %v allocations in a burst", in, allocations)
		}
	}
}

func BenchmarkSetPeers(b *testing.B) {
	t, _ := load(1000, true, false)
	var peers []Peer
	for _, p := range t.table.Load().peers {
		peers = append(peers, Peer{p.node, p.endpoint, []netip.Prefix{netip.PrefixFrom(p.endpoint.Addr(), 24)}})
	}
	b.ReportAllocs()
	for b.Loop() {
		t.SetPeers(peers)
	}
}

func TestPathAllocatesNothing(t *testing.T) {
	for _, in := range []bool{false, true} {
		for _, forged := range []bool{false, true} {
			round := path(100, in, forged)
			allocations := testing.AllocsPerRun(100, func() {
				if err := round(); err != nil {
					t.Fatal(err)
				}
			})
			if allocations != 0 {
				t.Errorf("inbound %t, forged %t: %v allocations in a batch", in, forged, allocations)
			}
		}
	}
}

func TestSocketAllocatesNothing(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		conn, err := Listen(netip.MustParseAddrPort(address), Tuning{Rungs: AllRungs})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		out := []Datagram{{Data: []byte("one"), Addr: conn.Local()}, {Data: []byte("two"), Addr: conn.Local()}}
		in := []Datagram{{Data: make([]byte, 8)}, {Data: make([]byte, 8)}}
		allocations := testing.AllocsPerRun(100, func() {
			if n, err := conn.Write(0, out); n != 2 || err != nil {
				t.Fatal(n, err)
			}
			for left := 2; left > 0; {
				n, err := conn.Read(0, in)
				if err != nil {
					t.Fatal(err)
				}
				left -= n
			}
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations in a batch", address, allocations)
		}
	}
}
