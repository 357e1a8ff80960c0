package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// withSocket makes the target commit through a socket with these options. It
// is a target's own until a commit fails.
func withSocket(t *testing.T, x *Target, n *netns, option func(*netlink.Conn) error) {
	t.Helper()
	if err := x.disconnect(); err != nil {
		t.Fatal(err)
	}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(n.fd), nftables.WithSockOptions(option))
	if err != nil {
		t.Fatal(err)
	}
	port, err := conn.GetPortID()
	if err == nil {
		err = x.monitor.ignore(port)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.conn = conn
}

// rounds runs rounds of an engine until one settles, as the loop does, and
// gives the error of the first one.
func rounds(t *testing.T, e *reconciler.Engine, want reconciler.State) error {
	t.Helper()
	var first error
	for i := range 3 {
		r := e.Converge(context.Background(), func(reconciler.Observation) (reconciler.Desired, error) {
			return reconciler.Desired{State: want, Complete: true}, nil
		})
		if i == 0 {
			first = r.Err
		}
		if r.Settled() {
			return first
		}
	}
	t.Fatalf("not settled: %v", first)
	return nil
}

// The kernel's answers find no room in the socket: the commit was done or not,
// nobody knows. The target looks, and does what is left.
func TestAnswersThatAreLost(t *testing.T) {
	for name, steps := range map[string][]reconciler.State{
		"from nothing": {many(500, 10)},
		"a change":     {many(20, 10), many(500, 10), many(20, 10), {}},
		"an end":       {many(500, 10), {}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetns(t)
			x := target(t, n)
			e := reconciler.NewEngine(x)
			lost := 0
			for _, want := range steps {
				withSocket(t, x, n, func(c *netlink.Conn) error {
					return errors.Join(c.SetWriteBuffer(8<<20), c.SetReadBuffer(1))
				})
				small := x.conn
				if err := rounds(t, e, want); err != nil {
					t.Errorf("the round failed: %v", err)
				}
				if x.conn != small { // it was given up
					lost++
				}
				expect(t, n, x, want)
			}
			if lost == 0 {
				t.Error("no answer was lost")
			}
		})
	}
}

// The second of two transactions cannot be sent. The round fails and says
// which; what the first one did stays, and the next round does the rest.
func TestCommitThatFailsInTheMiddle(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	e := reconciler.NewEngine(x)
	few := service{name: "few", address: netip.MustParseAddr("10.96.0.1"), protocol: reconciler.TCP, port: 80}
	lots := few
	lots.name, lots.port = "lots", 81
	for i := range transactionSize {
		lots.targets = append(lots.targets, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), 80))
	}
	few.targets = lots.targets[:2]
	want := state(host(nil), few, lots)
	withSocket(t, x, n, func(c *netlink.Conn) error { return c.SetWriteBuffer(1 << 18) })
	err := rounds(t, e, want)
	if !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("the first round: %v", err)
	}
	t.Log(err)
	expect(t, n, x, want)

	// Between the two rounds: a service is there whole or not at all.
	withSocket(t, x, n, func(c *netlink.Conn) error { return c.SetWriteBuffer(1 << 18) })
	more := few
	more.name, more.port = "also", 82 // the first of the plan
	lots.targets = append([]netip.AddrPort(nil), lots.targets...)
	for i := range lots.targets {
		lots.targets[i] = netip.AddrPortFrom(lots.targets[i].Addr(), 8080)
	}
	next := state(host(nil), few, more, lots)
	plan := reconciler.Diff(observe(t, x).State, next)
	if err := x.Apply(context.Background(), plan, next); err == nil {
		t.Fatal("it was sent")
	}
	for _, op := range reconciler.Diff(observe(t, x).State, next) {
		if e, ok := op.Object().(reconciler.Element); !ok || e.Port != 81 {
			t.Fatalf("what is left is to %s", op)
		}
	}
	expectListed(t, n, "10.96.0.1 . tcp . 82 : 0:2")
	if err := rounds(t, e, next); err != nil {
		t.Error(err)
	}
	expect(t, n, x, next)
}

func expectListed(t *testing.T, n *netns, text string) {
	t.Helper()
	n.run(fmt.Sprintf("nft list map ip poplin services | grep -q '%s'", text))
}

// Somebody else adds what a plan is about to add, but with another meaning:
// the kernel says EEXIST. Ours is what stays.
func TestForeignWriterIsFaster(t *testing.T) {
	for name, harm := range map[string]string{
		"a frontend":  "nft add element ip poplin services '{ 10.96.0.9 . tcp . 90 : 0x7 }'",
		"an endpoint": "nft add element ip poplin endpoints '{ 10.96.0.9 . tcp . 90 . 0x00000000 : 10.9.9.9 . 9 }'",
		"a chain":     "nft add chain ip poplin pick-1; nft insert rule ip poplin pick-1 accept",
		"both tables": "nft add table ip6 poplin; nft flush ruleset",
		"a set":       "nft add set ip poplin theirs '{ type mark; }'",
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetns(t)
			x := target(t, n)
			reach(t, x, state(host(nil)))
			s := service{name: "a", address: netip.MustParseAddr("10.96.0.9"), protocol: reconciler.TCP, port: 90, targets: []netip.AddrPort{netip.MustParseAddrPort("10.244.1.2:80")}}
			want := state(host(nil), s)
			plan := reconciler.Diff(observe(t, x).State, want)
			n.run(harm)
			if err := x.Apply(context.Background(), plan, want); err != nil {
				t.Logf("reported: %v", err)
			}
			_ = rounds(t, reconciler.NewEngine(x), want) // fails the test if it does not settle
			expect(t, n, x, want)
		})
	}
}

// A search for stale connections that fails is tried again by itself: their
// clients would go on sending to nobody until the next plan.
func TestStaleConnectionsAreSearchedAgain(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podB, "b", podsB)
	w.server(w.podC, "c", podsC)
	w.serve(map[uint16][2][]string{1: {{podsB[0]}, {podsB[1]}}})
	c, err := w.podA.dial("udp", vips[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if got, err := exchange(c, "udp"); err != nil || !strings.HasPrefix(got, "b") {
		t.Fatal(got, err)
	}
	// A descriptor that is no namespace: nothing can be asked.
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	var log lockedBuffer
	p := w.target.purger
	p.netns, p.log = int(file.Fd()), slog.New(slog.NewTextHandler(&log, nil))
	running(t, w.target)
	eventually(t, "the purger", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.running
	})
	w.serve(map[uint16][2][]string{1: {{podsC[0]}, {podsC[1]}}})
	eventually(t, "a second try", func() bool { return strings.Count(log.String(), "could not be deleted") >= 2 })
	if got, err := exchange(c, "udp"); err == nil && !strings.HasPrefix(got, "b") {
		t.Errorf("%s answers", got)
	}
	if err := unix.Dup2(w.node.fd, int(file.Fd())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an answer of c", func() bool {
		got, err := exchange(c, "udp")
		return err == nil && strings.HasPrefix(got, "c")
	})
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
