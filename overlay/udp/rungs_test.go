package udp_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/overlay/udp"
)

func TestParseRungs(t *testing.T) {
	for text, want := range map[string]string{
		"":                udp.AllRungs.String(),
		"all":             udp.AllRungs.String(),
		"none":            "none",
		"none,+vnet,+gso": "vnet gso",
		"none +gso":       "gso",
		"none,+tso":       "none", // which needs vnet
		"-vnet":           "gso gro batch lanes ports spin",
		"-gso,-gro,-spin": "vnet tso uso merge batch lanes ports",
		"-everything":     "error",
		"gso":             "error",
		"-":               "error",
	} {
		got, err := udp.ParseRungs(text)
		if err != nil && want == "error" && strings.Contains(err.Error(), text) {
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

// TestKernelRungs forces each rung of the ladder away in turn.
func TestKernelRungs(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	for _, change := range []string{
		"all", "-vnet", "-tso", "-uso", "-merge", "-gso", "-gro", "-batch", "-ports", "-gso,-gro,-batch", "none", "lanes",
	} {
		t.Run(change, func(t *testing.T) {
			tuning := udp.Tuning{Rungs: udp.AllRungs, Spin: 20 * time.Microsecond}
			if change == "lanes" {
				tuning.Lanes = 3
			} else if r, err := udp.ParseRungs(change); err != nil {
				t.Fatal(err)
			} else {
				tuning.Rungs = r
			}
			// At one end only, over the other family; the ends do not depend on
			// each other.
			for _, ipv6 := range []bool{false, true} {
				if ipv6 && change != "all" && change != "none" {
					continue
				}
				sites := newSites(t)
				a, b := sites[0], sites[1]
				a.tuning = tuning
				if !ipv6 {
					b.tuning = tuning
				}
				a.open(b, ipv6)
				b.open(a, ipv6)
				if got := a.tunnel.Rungs() &^ tuning.Rungs; got != 0 {
					t.Errorf("%s is turned off, but in use", got)
				}
				everything(t, a, b)
				for _, s := range sites {
					s.stop()
					if err := s.wait(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// everything exchanges pings, datagrams and streams of both families in both
// directions.
func everything(t *testing.T, a, b *site) {
	t.Helper()
	for _, s := range []*site{a, b} {
		other := 3 - s.n
		s.must(
			fmt.Sprintf("ping -c 2 -i 0.01 -w 5 10.244.%d.1", other),
			fmt.Sprintf("ping -c 2 -i 0.01 -w 5 -s 3000 10.244.%d.1", other),
			fmt.Sprintf("ping -c 2 -i 0.01 -w 5 -s 3000 fd00:%d::1", other),
		)
	}
	for _, size := range []int{1, 1300, 9000} { // the last one in fragments
		datagrams(t, a, b, "10.244.2.1:7000", size)
		datagrams(t, b, a, "[fd00:1::1]:7000", size)
	}
	transfer(t, a, b, "10.244.2.1:7000")
	transfer(t, b, a, "10.244.1.1:7000")
	transfer(t, a, b, "[fd00:2::1]:7000")
	for _, s := range []*site{a, b} {
		if c := s.tunnel.Counters(); c.Peers[0].Dropped != 0 {
			t.Errorf("site %d: %+v", s.n, c)
		}
	}
}

// datagrams sends bursts of datagrams, with UDP_SEGMENT where they are small
// enough, and compares what arrives, in order.
func datagrams(t *testing.T, from, to *site, address string, size int) {
	t.Helper()
	burst := max(2, min(20, 60_000/size)) // fits into the receiver's buffer, with what the kernel adds
	var receiver *net.UDPConn
	var sender net.Conn
	var err error
	to.do(func() {
		at, _ := net.ResolveUDPAddr("udp", address)
		receiver, err = net.ListenUDP("udp", at)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	from.do(func() { sender, err = net.Dial("udp", address) })
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	data := make([]byte, burst*size)
	_, _ = rand.Read(data)
	if size == 1300 {
		raw, _ := sender.(*net.UDPConn).SyscallConn()
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) })
		if err != nil {
			t.Fatal(err)
		}
		_, err = sender.Write(data)
	} else {
		for i := range burst {
			if _, err = sender.Write(data[i*size : (i+1)*size]); err != nil {
				break
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = receiver.SetReadDeadline(time.Now().Add(deadline))
	got := make([]byte, size+1)
	for i := range burst {
		n, err := receiver.Read(got)
		if err != nil || !bytes.Equal(got[:n], data[i*size:(i+1)*size]) {
			t.Fatalf("datagram %d of %d bytes to %s: %d bytes, %v", i, size, address, n, err)
		}
	}
}

// The underlay is narrower than the device says: what the socket refuses to
// segment is fragmented.
func TestKernelNarrowUnderlay(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	for _, ipv6 := range []bool{false, true} {
		sites := newSites(t)
		a, b := sites[0], sites[1]
		a.open(b, ipv6)
		b.open(a, ipv6)
		for _, s := range sites {
			s.must("ip link set eth0 mtu 1400")
		}
		everything(t, a, b)
	}
}

// TestKernelBarePeer exchanges packets with a peer that knows nothing but raw
// IP in UDP.
func TestKernelBarePeer(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	sites := newSites(t)
	a, b := sites[0], sites[1]
	a.open(b, false)
	barePeer(t, b, a.underlay(false).String())
	b.must("ping -c 2 -i 0.01 -w 5 10.244.1.1", "ping -c 2 -i 0.01 -w 5 fd00:1::1")
	a.must("ping -c 2 -i 0.01 -w 5 -s 1300 10.244.2.1")
	transfer(t, a, b, "10.244.2.1:7000")
	transfer(t, b, a, "10.244.1.1:7000")
	transfer(t, b, a, "[fd00:1::1]:7000")
}

// barePeer is all that a peer has to do.
func barePeer(t *testing.T, s *site, other string) {
	var device *os.File
	var conn *net.UDPConn
	var err error
	s.do(func() {
		fd, e := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		request, _ := unix.NewIfreq("poplin0")
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
		if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request); e != nil || err != nil {
			return
		}
		device = os.NewFile(uintptr(fd), "tun")
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(s.underlay(false)))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close(); conn.Close() })
	to, _ := net.ResolveUDPAddr("udp4", other)
	go func() {
		for packet := make([]byte, 65535); ; {
			n, err := device.Read(packet)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDP(packet[:n], to)
		}
	}()
	go func() {
		for packet := make([]byte, 65535); ; {
			n, _, err := conn.ReadFromUDP(packet)
			if err != nil {
				return
			}
			_, _ = device.Write(packet[:n])
		}
	}()
}

// rough is a connection in front of which datagrams are lost, doubled and
// delayed.
type rough struct {
	udp.Conn
	n    int
	late []udp.Datagram
}

func (r *rough) Write(lane int, batch []udp.Datagram) (int, error) {
	for i, d := range batch {
		for _, data := range udp.Segments(d) {
			one := udp.Datagram{Data: data, Addr: d.Addr, Flow: d.Flow}
			r.n++
			send := []udp.Datagram{one}
			switch {
			case r.n%1009 == 0:
				continue
			case r.n%397 == 0:
				send = append(send, one)
			case r.n%211 == 0:
				one.Data = bytes.Clone(data)
				r.late = append(r.late, one)
				continue
			case len(r.late) > 0 && r.n%7 == 0:
				send = append(send, r.late...)
				r.late = nil
			}
			if _, err := r.Conn.Write(lane, send); err != nil {
				return i, err
			}
		}
	}
	return len(batch), nil
}

// TestKernelRoughPath sends much through a path that loses, doubles and
// reorders.
func TestKernelRoughPath(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	sites := newSites(t)
	a, b := sites[0], sites[1]
	a.wrap = func(c udp.Conn) udp.Conn { return &rough{Conn: c} }
	a.open(b, false)
	b.open(a, false)
	size := int64(64 << 20)
	if os.Getenv("POPLIN_TEST_LONG") == "1" {
		size = 1 << 30
	}
	transferBytes(t, a, b, "10.244.2.1:7000", size)
	transferBytes(t, a, b, "[fd00:2::1]:7000", size/8)
}

// TestKernelFlood sends garbage of an unknown sender as fast as a core can,
// while good traffic passes.
func TestKernelFlood(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	sites := newSites(t)
	a, b := sites[0], sites[1]
	a.open(b, false)
	b.open(a, false)
	b.must("ip address add 192.0.2.99/24 dev eth0")
	quiet := transferBytes(t, b, a, "10.244.1.1:7000", 8<<20)
	var flood udp.Conn
	var err error
	b.do(func() { flood, err = udp.Listen(addr("192.0.2.99:0"), all) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		garbage := make([]byte, 44*1400)
		_, _ = rand.Read(garbage)
		batch := []udp.Datagram{{Data: garbage, Segment: 1400, Addr: a.local}}
		for ctx.Err() == nil {
			_, _ = flood.Write(0, batch)
		}
		flood.Close()
	}()
	flooded := transferBytes(t, b, a, "10.244.1.1:7001", 8<<20)
	stop()
	<-ended
	drops := a.tunnel.Counters().Drops[udp.UnknownPeer]
	t.Logf("good traffic: %.0f Mbit/s, with a flood %.0f (%.0f %%); %d datagrams of it dropped", quiet, flooded, 100*flooded/quiet, drops)
	if drops == 0 {
		t.Error("the flood did not arrive")
	}
	a.must("ping -c 1 -w 5 10.244.2.1")
}

// A connection with fewer lanes than the device cannot be used: two goroutines
// would write to one lane.
func TestLanesMustSuffice(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	s := newSites(t)[0]
	var device udp.Device
	var conn udp.Conn
	var err error
	s.do(func() {
		if device, err = udp.OpenDevice("poplin0", udp.Tuning{Rungs: udp.AllRungs, Lanes: 2}); err == nil {
			conn, err = udp.Listen(s.underlay(false), udp.Tuning{Rungs: udp.AllRungs, Lanes: 1})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	tunnel := udp.New(udp.Options{Device: device, Conn: conn, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := tunnel.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "lanes") {
		t.Errorf("%v", err)
	}
}
