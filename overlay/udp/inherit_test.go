package udp_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/overlay/udp"
)

// duplicates plays the service manager, which holds descriptors too.
func duplicates(t *testing.T, v any) []int {
	t.Helper()
	var out []int
	for _, fd := range udp.Descriptors(v) {
		duplicate, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, duplicate)
	}
	return out
}

// What arrives between two tunnels waits for the second, with and without
// offloads and lanes.
func TestInherited(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	for _, tuning := range []udp.Tuning{all, {}, {Rungs: udp.AllRungs, Lanes: 3}} {
		for _, ipv6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, %d lanes, IPv6 %t", tuning.Rungs, tuning.Lanes, ipv6), func(t *testing.T) {
				sites := newSites(t)
				a, b := sites[0], sites[1]
				a.tuning, b.tuning = tuning, tuning
				b.open(a, ipv6)
				testInherited(t, a, b, ipv6)
			})
		}
	}
}

func testInherited(t *testing.T, a, b *site, ipv6 bool) {
	var device udp.Device
	var conn udp.Conn
	var err1, err2 error
	a.do(func() {
		device, err1 = udp.OpenDevice("poplin0", a.tuning)
		conn, err2 = udp.Listen(a.underlay(ipv6), a.tuning)
	})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	queues, lanes := duplicates(t, device), duplicates(t, conn)
	stop := startTunnel(t, device, conn, b.peer(ipv6))
	// A device drops packets for a moment after it got its first holder.
	a.must("ping -c 1 -i 0.05 -w 20 10.244.2.1")
	stop()

	here, there := listenIn(t, a.host, "10.244.1.1:7000"), listenIn(t, b.host, "10.244.2.1:7000")
	const count = 50
	for range count {
		sendIn(t, here, "10.244.2.1:7000")
		sendIn(t, there, "10.244.1.1:7000")
	}
	a.do(func() {
		device, err1 = udp.InheritDevice("poplin0", queues, a.tuning)
		conn, err2 = udp.InheritConn(a.underlay(ipv6), lanes, a.tuning)
	})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	stop = startTunnel(t, device, conn, b.peer(ipv6))
	receive(t, here, count)
	receive(t, there, count)
	stop()
}

// startTunnel runs a tunnel until the function that it returns is called.
func startTunnel(t *testing.T, device udp.Device, conn udp.Conn, peer udp.Peer) (stop func()) {
	tunnel := udp.New(udp.Options{Device: device, Conn: conn, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	tunnel.SetPeers([]udp.Peer{peer})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() { ended <- tunnel.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func listenIn(t *testing.T, h *host, address string) *net.UDPConn {
	t.Helper()
	var conn net.PacketConn
	var err error
	h.do(func() { conn, err = net.ListenPacket("udp", address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

func sendIn(t *testing.T, from *net.UDPConn, to string) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte("hello"), netip.MustParseAddrPort(to)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, at *net.UDPConn, count int) {
	t.Helper()
	_ = at.SetReadDeadline(time.Now().Add(deadline))
	for i := range count {
		if _, err := at.Read(make([]byte, 64)); err != nil {
			t.Fatalf("%d of %d: %v", i, count, err)
		}
	}
}

// What does not fit is refused and closed.
func TestInheritRefuses(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	sites := newSites(t)
	a, b := sites[0], sites[1]
	a.must("ip tuntap add tun9 mode tun multi_queue", "ip tuntap add single mode tun")
	one := udp.Tuning{Rungs: udp.AllRungs, Lanes: 1}
	local := a.underlay(false)
	open := func(h *host, f func() (any, error)) (out []int) {
		h.do(func() {
			v, err := f()
			if err != nil {
				t.Error(err)
				return
			}
			out = duplicates(t, v)
			v.(interface{ Close() error }).Close()
		})
		return out
	}
	device := func(name string, o udp.Tuning) func() (any, error) {
		return func() (any, error) { return udp.OpenDevice(name, o) }
	}
	socket := func(at netip.AddrPort) func() (any, error) {
		return func() (any, error) { return udp.Listen(at, one) }
	}
	pipe := func() []int {
		var p [2]int
		if err := unix.Pipe(p[:]); err != nil {
			t.Fatal(err)
		}
		unix.Close(p[1])
		return p[:1]
	}
	for name, left := range map[string][]int{
		"no queue":          pipe(),
		"a socket":          open(a.host, socket(local)),
		"another device":    open(a.host, device("tun9", one)),
		"another namespace": open(b.host, device("poplin0", one)),
		"other rungs":       open(a.host, device("poplin0", udp.Tuning{})),
		"too many":          open(a.host, device("poplin0", udp.Tuning{Rungs: udp.AllRungs, Lanes: 2})),
	} {
		a.do(func() {
			_, err := udp.InheritDevice("poplin0", slices.Clone(left), one)
			refusedAndClosed(t, name, left, err)
		})
	}
	deleted := open(a.host, device("poplin0", one))
	a.must("ip link delete poplin0")
	a.makeDevice()
	a.do(func() {
		_, err := udp.InheritDevice("poplin0", deleted, one)
		refusedAndClosed(t, "a device of the past", deleted, err)
	})
	for name, left := range map[string][]int{
		"no socket":         pipe(),
		"a queue":           open(a.host, device("poplin0", one)),
		"another port":      open(a.host, socket(netip.AddrPortFrom(local.Addr(), 9000))),
		"another family":    open(a.host, socket(a.underlay(true))),
		"another namespace": open(b.host, socket(b.underlay(false))),
	} {
		a.do(func() {
			_, err := udp.InheritConn(local, slices.Clone(left), one)
			refusedAndClosed(t, name, left, err)
		})
	}
}

func refusedAndClosed(t *testing.T, name string, left []int, err error) {
	t.Helper()
	if !errors.Is(err, udp.ErrUnfit) {
		t.Errorf("%s: %v", name, err)
	}
	for _, fd := range left {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: descriptor %d is open", name, fd)
		}
	}
}
