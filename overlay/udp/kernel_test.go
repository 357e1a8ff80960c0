package udp_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poplin-net/poplin/overlay/udp"
)

// deadline is how long a test waits for something that takes milliseconds.
const deadline = 20 * time.Second

// all is the whole ladder.
var all = udp.Tuning{Rungs: udp.AllRungs}

// site is a host with a subnet of each family and a tunnel:
//
//	   pods (lo): 10.244.N.1, fd00:N::1            pods: 10.244.M.1, fd00:M::1
//	           │                                           │
//	        poplin0: 10.244.N.0, fd00:N::             poplin0
//	           │ tunnel                                    │ tunnel
//	eth0: 192.0.2.N, 2001:db8::N  ────────veth────────  eth0: 192.0.2.M
type site struct {
	*host
	n      int
	tunnel *udp.Tunnel
	local  netip.AddrPort
	tuning udp.Tuning
	wrap   func(udp.Conn) udp.Conn // nil: none
	ended  chan error
	stop   context.CancelFunc
}

// newSites makes two hosts joined by a wire.
func newSites(t *testing.T) [2]*site {
	sites := [2]*site{{host: newHost(t), n: 1, tuning: all}, {host: newHost(t), n: 2, tuning: all}}
	sites[0].must("ip link add eth0 type veth peer name eth0 netns " + netnsName(sites[1].host))
	for _, s := range sites {
		s.must(
			fmt.Sprintf("ip address add 192.0.2.%d/24 dev eth0", s.n),
			fmt.Sprintf("ip address add 2001:db8::%d/64 dev eth0 nodad", s.n),
			"ip link set lo up", "ip link set eth0 up",
			fmt.Sprintf("ip address add 10.244.%d.1/32 dev lo", s.n),
			fmt.Sprintf("ip address add fd00:%d::1/128 dev lo nodad", s.n),
		)
		s.makeDevice()
	}
	return sites
}

// netnsName is the thread that keeps the namespace, which iproute2 takes for
// a process.
func netnsName(h *host) string { return strings.Split(h.path, "/")[4] }

// makeDevice plays the target of links and routes.
func (s *site) makeDevice() {
	s.t.Helper()
	other := 3 - s.n
	s.must(
		"ip tuntap add poplin0 mode tun multi_queue",
		"ip link set poplin0 up mtu 1452 txqueuelen 4000",
		fmt.Sprintf("ip address add 10.244.%d.0/32 dev poplin0", s.n),
		fmt.Sprintf("ip address add fd00:%d::/128 dev poplin0 nodad", s.n),
		fmt.Sprintf("ip route add 10.244.%d.0/24 dev poplin0", other),
		fmt.Sprintf("ip route add fd00:%d::/64 dev poplin0", other),
	)
}

func (s *site) underlay(ipv6 bool) netip.AddrPort {
	if ipv6 {
		return netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::%d]:8285", s.n))
	}
	return netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:8285", s.n))
}

// open starts the site's tunnel towards another.
func (s *site) open(other *site, ipv6 bool) {
	s.t.Helper()
	var device udp.Device
	var conn udp.Conn
	var err error
	s.local = s.underlay(ipv6)
	s.do(func() {
		if device, err = udp.OpenDevice("poplin0", s.tuning); err == nil {
			conn, err = udp.Listen(s.local, s.tuning)
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.wrap != nil {
		conn = s.wrap(conn)
	}
	s.tunnel = udp.New(udp.Options{Device: device, Conn: conn, Log: slog.New(slog.NewTextHandler(s.t.Output(), nil))})
	s.tunnel.SetPeers([]udp.Peer{other.peer(ipv6)})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.tunnel.Run(ctx) }()
	s.stop, s.ended = stop, ended
	s.t.Cleanup(stop)
}

func (s *site) peer(ipv6 bool) udp.Peer {
	return udp.Peer{Node: fmt.Sprint("node-", s.n), Endpoint: s.underlay(ipv6), Subnets: []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", s.n)), netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", s.n)),
	}}
}

// wait waits for the end of the tunnel.
func (s *site) wait() error {
	s.t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(deadline):
		s.t.Fatal("the tunnel did not end")
		return nil
	}
}

func TestKernelTraffic(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	for _, ipv6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("underlay IPv6 %t", ipv6), func(t *testing.T) {
			sites := newSites(t)
			a, b := sites[0], sites[1]
			a.open(b, ipv6)
			b.open(a, ipv6)
			for _, s := range sites {
				other := 3 - s.n
				s.must(
					fmt.Sprintf("ping -c 3 -i 0.01 -W 5 10.244.%d.1", other),
					fmt.Sprintf("ping -c 3 -i 0.01 -W 5 -I 10.244.%d.1 10.244.%d.1", s.n, other),
					fmt.Sprintf("ping -c 3 -i 0.01 -W 5 fd00:%d::1", other),
					// The kernel that forwards counts hops, the tunnel does not.
					fmt.Sprintf("ping -c 1 -t 1 -W 5 10.244.%d.1", other),
					// Larger than the device's MTU, so in two fragments.
					fmt.Sprintf("ping -c 3 -i 0.01 -W 5 -s 2000 10.244.%d.1", other),
				)
			}
			transfer(t, a, b, "10.244.2.1:7000")
			transfer(t, b, a, "[fd00:1::1]:7000")
			for _, s := range sites {
				c := s.tunnel.Counters()
				if p := c.Peers[0]; p.SentPackets == 0 || p.ReceivedPackets == 0 || p.Dropped != 0 {
					t.Errorf("site %d: %+v", s.n, c)
				}
				s.stop()
				if err := s.wait(); err != nil {
					t.Errorf("site %d: %v", s.n, err)
				}
			}
			// The device outlives its tunnel, with its routes.
			a.must("ip link show poplin0", "ip route get 10.244.2.1")
		})
	}
}

// transfer sends some MiB from one site to an address of the other and
// compares checksums.
func transfer(t *testing.T, from, to *site, address string) {
	t.Helper()
	transferBytes(t, from, to, address, 8<<20)
}

// transferBytes does so with a number of bytes, and returns Mbit/s.
func transferBytes(t *testing.T, from, to *site, address string, size int64) float64 {
	t.Helper()
	var listener net.Listener
	var conn net.Conn
	var err error
	to.do(func() { listener, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	received := make(chan string, 1)
	go func() {
		sum := sha256.New()
		if c, err := listener.Accept(); err == nil {
			_, _ = io.Copy(sum, c)
			c.Close()
		}
		received <- fmt.Sprintf("%x", sum.Sum(nil))
	}()
	from.do(func() { conn, err = net.DialTimeout("tcp", address, deadline) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.New()
	start := time.Now()
	if _, err := io.Copy(io.MultiWriter(conn, sum), io.LimitReader(rand.Reader, size)); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	if want, got := fmt.Sprintf("%x", sum.Sum(nil)), <-received; got != want {
		t.Errorf("to %s: received %s, sent %s", address, got, want)
	}
	rate := float64(size*8) / time.Since(start).Seconds() / 1e6
	t.Logf("to %s: %.0f Mbit/s", address, rate)
	return rate
}

func addr(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

func TestKernelForged(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	sites := newSites(t)
	a, b := sites[0], sites[1]
	a.open(b, false)
	b.must("ip address add 192.0.2.99/24 dev eth0")
	inner := make([]byte, 20) // from 10.244.9.9, which b does not own, to 10.244.1.1
	copy(inner, []byte{0x45, 0, 0, 20, 8: 64, 9: 17, 12: 10, 244, 9, 9, 10, 244, 1, 1})
	for _, forged := range []struct {
		from string
		data []byte
	}{{"192.0.2.99:0", inner}, {"192.0.2.2:0", inner}, {"192.0.2.2:0", inner[:19]}, {"192.0.2.2:0", []byte("?")}} {
		b.do(func() {
			conn, err := udp.Listen(netip.MustParseAddrPort(forged.from), all)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(0, []udp.Datagram{{Data: forged.data, Addr: a.local}}); err != nil {
				t.Fatal(err)
			}
		})
	}
	want := map[udp.Reason]uint64{udp.UnknownPeer: 1, udp.ForeignSource: 1, udp.Truncated: 1, udp.NotIP: 1}
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		got := a.tunnel.Counters().Drops
		delete(got, udp.NotUnicast) // what the kernel says when a link comes up
		if maps.Equal(got, want) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("drops %v, want %v", got, want)
		}
	}
	b.open(a, false)
	b.must("ping -c 1 -w 5 10.244.1.1")
}

// Pings have a deadline, not a number of tries: a link that just came up may
// drop packets for as much as a second, until the kernel gives it a queue
// (net/core/link_watch.c does that at most once a second).
func TestKernelDeviceDeleted(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	sites := newSites(t)
	a, b := sites[0], sites[1]
	a.open(b, false)
	b.open(a, false)
	a.must("ping -c 1 -w 5 10.244.2.1", "ip link delete poplin0")
	if err := a.wait(); err == nil {
		t.Error("the tunnel ended without an error")
	} else {
		t.Log(err)
	}
	a.makeDevice()
	a.open(b, false) // also shows that the port is free again
	a.must("ping -c 1 -w 5 10.244.2.1")
	b.must("ping -c 1 -w 5 10.244.1.1")
}

func TestOpenDeviceMakesNone(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	h := newHost(t)
	h.must("ip tuntap add single mode tun", "ip link add bridge type bridge")
	for _, name := range []string{"absent", "single", "bridge", "a-name-that-is-far-too-long"} {
		h.do(func() {
			if d, err := udp.OpenDevice(name, all); err == nil {
				t.Errorf("%s: no error", name)
				d.Close()
			} else if !strings.Contains(err.Error(), name) {
				t.Errorf("%s: the error does not name it: %v", name, err)
			}
		})
	}
	if _, err := h.run("ip link show absent"); err == nil {
		t.Error("it made a device")
	}
}

func TestSocketKeepsTheContract(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		a, err := udp.Listen(netip.MustParseAddrPort(address), all)
		if err != nil {
			t.Fatal(err)
		}
		b, err := udp.Listen(netip.MustParseAddrPort(address), all)
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, a, b)
		read := make(chan error)
		go func() {
			_, err := a.Read(0, []udp.Datagram{{Data: make([]byte, 1)}})
			read <- err
		}()
		if err := errors.Join(a.Close(), a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("pending read: %v", err)
		}
		if _, err := a.Write(0, []udp.Datagram{{Data: []byte("x"), Addr: b.Local()}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
	}
}

// Several who close at once, as a reader that was woken and who woke it do,
// close once.
func TestSocketClosedByMany(t *testing.T) {
	for range 50 {
		conn, err := udp.Listen(addr("127.0.0.1:0"), all)
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		group.Go(func() {
			for {
				if _, err := conn.Read(0, []udp.Datagram{{Data: make([]byte, 10)}}); err != nil {
					conn.Close()
					return
				}
			}
		})
		group.Go(func() { conn.Close() })
		group.Go(func() { conn.Close() })
		group.Wait()
		again, err := udp.Listen(conn.Local(), all)
		if err != nil {
			t.Fatalf("it is not closed: %v", err)
		}
		again.Close()
	}
}

// exchange sends a batch that is larger than what goes at once and has two
// datagrams in it that cannot be sent.
func exchange(t *testing.T, a, b udp.Conn) {
	t.Helper()
	wrong := netip.MustParseAddrPort("192.0.2.1:9")
	if a.Local().Addr().Is4() {
		wrong = netip.MustParseAddrPort("[2001:db8::1]:9")
	}
	var batch []udp.Datagram
	for i := range 100 {
		batch = append(batch, udp.Datagram{Data: fmt.Append(nil, "datagram ", i), Addr: b.Local()})
	}
	batch[40].Addr = wrong
	batch[50].Data = make([]byte, 65536)
	for rest := batch; len(rest) > 0; {
		n, err := a.Write(0, rest)
		if at := len(batch) - len(rest) + n; err != nil && at != 40 && at != 50 {
			t.Fatalf("datagram %d: %v", at, err)
		} else if err == nil && n != len(rest) {
			t.Fatal("a short write without an error")
		}
		rest = rest[min(n+1, len(rest)):]
	}
	into := make([]udp.Datagram, 7)
	for i := 0; i < 100; {
		for k := range into {
			into[k].Data = make([]byte, 0, 64)
		}
		n, err := b.Read(0, into)
		if err != nil || n == 0 {
			t.Fatalf("%d, %v", n, err)
		}
		for _, d := range into[:n] {
			if i == 40 || i == 50 {
				i++
			}
			if want := fmt.Sprint("datagram ", i); string(d.Data) != want || d.Addr != a.Local() {
				t.Fatalf("%q from %s, want %q from %s", d.Data, d.Addr, want, a.Local())
			}
			i++
		}
	}
}
