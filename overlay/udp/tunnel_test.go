package udp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/overlay/udp/udptest"
)

var (
	here  = netip.MustParseAddrPort("192.0.2.1:8285")
	peer2 = netip.MustParseAddrPort("192.0.2.2:8285")
	peer3 = netip.MustParseAddrPort("192.0.2.3:8285")
)

// bench is a tunnel on an in-memory device and underlay, in a synctest bubble.
type bench struct {
	t       *testing.T
	device  *udptest.Device
	network *udptest.Network
	tunnel  *udp.Tunnel
	log     *logged
	stop    context.CancelFunc
	ended   chan error
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, device: udptest.NewDevice("poplin0"), network: udptest.NewNetwork(), log: new(logged), ended: make(chan error, 1)}
	b.tunnel = udp.New(udp.Options{
		Device: b.device, Conn: b.listen(here), Log: slog.New(slog.NewTextHandler(b.log, nil)),
	})
	b.tunnel.SetPeers([]udp.Peer{
		{Node: "node-2", Endpoint: peer2, Subnets: prefixes("10.244.2.0/24", "fd00:2::/64")},
		{Node: "node-3", Endpoint: peer3, Subnets: prefixes("10.244.3.0/24")},
	})
	var ctx context.Context
	ctx, b.stop = context.WithCancel(t.Context())
	go func() { b.ended <- b.tunnel.Run(ctx) }()
	return b
}

func (b *bench) listen(at netip.AddrPort) udp.Conn {
	c, err := b.network.Listen(at)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// end stops the tunnel, and checks that everything is closed.
func (b *bench) end() {
	b.t.Helper()
	b.stop()
	if err := <-b.ended; err != nil {
		b.t.Error(err)
	}
	<-b.device.Closed()
	if b.network.Listening(here) {
		b.t.Error("the socket is open after the end")
	}
}

// received is what reached the kernel once everything has come to rest.
func (b *bench) received() [][]byte {
	synctest.Wait()
	var list [][]byte
	for {
		select {
		case p := <-b.device.Received():
			list = append(list, p)
		default:
			return list
		}
	}
}

// drops is "reason=packets …" once everything has come to rest.
func (b *bench) drops() string {
	synctest.Wait()
	var list []string
	for r, n := range b.tunnel.Counters().Drops {
		list = append(list, fmt.Sprintf("%s=%d", r, n))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// logged collects what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.text.String(), "\n"), "\n")
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// packet makes a packet of 28 (IPv4) or 48 (IPv6) bytes.
func packet(source, destination string) []byte {
	s, d := netip.MustParseAddr(source), netip.MustParseAddr(destination)
	if s.Is4() {
		p := make([]byte, 28)
		p[0], p[3], p[8] = 0x45, 28, 64
		copy(p[12:], s.AsSlice())
		copy(p[16:], d.AsSlice())
		return p
	}
	p := make([]byte, 48)
	p[0], p[5], p[7] = 0x60, 8, 64
	copy(p[8:], s.AsSlice())
	copy(p[24:], d.AsSlice())
	return p
}

func TestTunnelMovesPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		far := b.listen(peer2)
		for _, p := range [][]byte{packet("10.244.1.5", "10.244.2.9"), packet("fd00:1::5", "fd00:2::9")} {
			b.device.Send(p)
			got := []udp.Datagram{{Data: make([]byte, 100)}}
			if _, err := far.Read(0, got); err != nil || !slices.Equal(got[0].Data, p) || got[0].Addr != here {
				t.Fatalf("sent %x, received %x from %s, %v", p, got[0].Data, got[0].Addr, err)
			}
		}
		// In again, from a port that is not the peer's.
		in := [][]byte{packet("10.244.2.9", "10.244.1.5"), packet("fd00:2::9", "fd00:1::5")}
		for _, p := range in {
			b.network.Send(netip.MustParseAddrPort("192.0.2.2:40000"), here, p)
		}
		if got := b.received(); !slices.EqualFunc(got, in, slices.Equal) {
			t.Errorf("received %x", got)
		}
		if got := b.drops(); got != "" {
			t.Errorf("drops: %s", got)
		}
		want := udp.PeerCounters{Node: "node-2", SentPackets: 2, SentBytes: 76, ReceivedPackets: 2, ReceivedBytes: 76}
		if got := b.tunnel.Counters().Peers; len(got) != 2 || got[0] != want {
			t.Errorf("counters: %+v", got)
		}
		b.end()
	})
}

func TestTunnelDropsForgedPackets(t *testing.T) {
	good := packet("10.244.2.9", "10.244.1.5")
	long := slices.Clone(good)
	binary.BigEndian.PutUint16(long[2:], 1400)
	for _, test := range []struct {
		name, from string
		data       []byte
		want       string
	}{
		{"good", "192.0.2.2:8285", good, ""},
		{"unknown outer source", "192.0.2.9:8285", good, "unknown-peer=1"},
		{"unknown outer source of the other family", "[2001:db8::2]:8285", good, "unknown-peer=1"},
		{"inner source of another peer", "192.0.2.3:8285", good, "foreign-source=1"},
		{"inner source of ours", "192.0.2.2:8285", packet("10.244.1.7", "10.244.1.5"), "foreign-source=1"},
		{"inner source of nobody", "192.0.2.2:8285", packet("8.8.8.8", "10.244.1.5"), "foreign-source=1"},
		{"inner source is the underlay address", "192.0.2.2:8285", packet("192.0.2.2", "10.244.1.5"), "foreign-source=1"},
		{"foreign IPv6 source", "192.0.2.2:8285", packet("fd00:3::1", "fd00:1::5"), "foreign-source=1"},
		{"IPv4 source in a mapped form", "192.0.2.2:8285", packet("::ffff:10.244.2.9", "fd00:1::5"), "foreign-source=1"},
		{"into the tunnel again", "192.0.2.2:8285", packet("10.244.2.9", "10.244.3.5"), "forwarded=1"},
		{"back to the sender", "192.0.2.2:8285", packet("10.244.2.9", "10.244.2.8"), "forwarded=1"},
		{"empty", "192.0.2.2:8285", nil, "truncated=1"},
		{"cut", "192.0.2.2:8285", good[:27], "truncated=1"},
		{"claims to be longer", "192.0.2.2:8285", long, "truncated=1"},
		{"neither 4 nor 6", "192.0.2.2:8285", []byte("\x10hello"), "not-ip=1"},
		{"random", "192.0.2.2:8285", []byte{0xd7, 0x1f, 0x00, 0x83, 0x55}, "not-ip=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.network.Send(netip.MustParseAddrPort(test.from), here, test.data)
				if got := len(b.received()); (got == 1) != (test.want == "") {
					t.Errorf("the kernel received %d packets", got)
				}
				if got := b.drops(); got != test.want {
					t.Errorf("drops %q, want %q", got, test.want)
				}
				// Good traffic is not disturbed.
				b.network.Send(peer2, here, good)
				if got := b.received(); len(got) != 1 || !slices.Equal(got[0], good) {
					t.Errorf("then received %x", got)
				}
				b.end()
			})
		})
	}
}

func TestTunnelGoesOnPastRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		far := b.listen(peer2)
		huge := make([]byte, udp.MaxPacket)
		copy(huge, packet("10.244.1.5", "10.244.2.9"))
		for _, p := range [][]byte{huge, packet("10.244.1.5", "10.244.9.9"), {0x45}, {0x00}, packet("10.244.1.5", "10.244.2.9")} {
			b.device.Send(p)
		}
		if n, err := far.Read(0, []udp.Datagram{{Data: make([]byte, 100)}}); n != 1 || err != nil {
			t.Error(n, err)
		}
		b.device.Refuse(syscall.EIO)
		b.network.Send(peer2, here, packet("10.244.2.9", "10.244.1.5"))
		want := "device-error=1 no-route=1 not-ip-out=1 oversize=1 truncated-out=1"
		if got := b.drops(); got != want {
			t.Errorf("drops %q, want %q", got, want)
		}
		b.device.Refuse(nil)
		b.network.Send(peer2, here, packet("10.244.2.9", "10.244.1.5"))
		if got := b.received(); len(got) != 1 {
			t.Errorf("received %d packets", len(got))
		}
		b.end()
	})
}

func TestTunnelWarnsOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		forge := func(n int) {
			for range n {
				b.network.Send(netip.MustParseAddrPort("192.0.2.9:1"), here, packet("10.244.2.9", "10.244.1.5"))
			}
			synctest.Wait()
		}
		forge(1)
		forge(50)
		b.network.Send(peer2, here, []byte("quiet"))
		time.Sleep(59 * time.Second)
		forge(50)
		if got := b.log.lines(); len(got) != 1 || !strings.Contains(got[0], "reason=unknown-peer packets=1 peer=192.0.2.9:1 source=10.244.2.9 destination=10.244.1.5") {
			t.Errorf("first minute: %q", got)
		}
		time.Sleep(2 * time.Second)
		forge(2)
		b.network.Send(peer3, here, packet("10.244.2.9", "10.244.1.5"))
		synctest.Wait()
		got := b.log.lines()
		if len(got) != 3 || !strings.Contains(got[1], "packets=101") || !strings.Contains(got[2], "foreign-source") {
			t.Errorf("second minute: %q", got)
		}
		b.end()
	})
}

func TestTunnelEndsWithItsDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		b.device.Delete()
		if err := <-b.ended; err == nil || !strings.Contains(err.Error(), "poplin0") {
			t.Errorf("ended with %v", err)
		}
		if b.network.Listening(here) {
			t.Error("the socket is still open")
		}
		if err := b.tunnel.SetConn(b.listen(here)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetConn afterwards: %v", err)
		}
		if b.network.Listening(here) {
			t.Error("the late socket is still open")
		}
	})
}

func TestTunnelChangesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		moved := netip.MustParseAddrPort("192.0.2.1:9000")
		far, in := b.listen(peer2), packet("10.244.2.9", "10.244.1.5")
		got := []udp.Datagram{{Data: make([]byte, 100)}}
		if err := b.tunnel.SetConn(b.listen(moved)); err != nil {
			t.Fatal(err)
		}
		b.device.Send(packet("10.244.1.5", "10.244.2.9"))
		if _, err := far.Read(0, got); err != nil || got[0].Addr != moved {
			t.Errorf("sent from %s, %v", got[0].Addr, err)
		}
		b.network.Send(peer2, here, in)
		b.network.Send(peer2, moved, in)
		if got := len(b.received()); got != 2 {
			t.Errorf("%d of 2 arrived", got)
		}
		// Back to a third one, whose predecessor is closed by its owner.
		third := b.listen(netip.MustParseAddrPort("192.0.2.1:9001"))
		if err := errors.Join(b.tunnel.SetConn(third), b.tunnel.SetConn(third)); err != nil {
			t.Fatal(err)
		}
		b.network.Send(peer2, third.Local(), in)
		if got := len(b.received()); got != 1 {
			t.Errorf("%d of 1 arrived", got)
		}
		third.Close()
		if err := <-b.ended; err == nil || !strings.Contains(err.Error(), "9001") {
			t.Errorf("the current connection was closed: %v", err)
		}
	})
}

func TestTunnelForgetsFormerConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		first := b.listen(netip.MustParseAddrPort("192.0.2.1:9000"))
		second := b.listen(netip.MustParseAddrPort("192.0.2.1:9001"))
		if err := errors.Join(b.tunnel.SetConn(first), b.tunnel.SetConn(second)); err != nil {
			t.Fatal(err)
		}
		first.Close()
		synctest.Wait()
		b.network.Send(peer2, second.Local(), packet("10.244.2.9", "10.244.1.5"))
		if got := len(b.received()); got != 1 {
			t.Errorf("%d of 1 arrived", got)
		}
		b.end()
	})
}
