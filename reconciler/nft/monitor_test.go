package nft

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// running starts a target's monitor for the length of the test.
func running(t *testing.T, x *Target) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// kicked reports whether a kick waits, and takes it.
func kicked(x *Target) bool {
	select {
	case <-x.Changes():
		return true
	default:
		return false
	}
}

// settle waits until the monitor has heard everything that was done before:
// a change of ours made by somebody else comes last.
func settle(t *testing.T, n *netns, x *Target) {
	t.Helper()
	n.run("nft add element ip poplin cluster-addresses '{ 10.9.9.9 }'; nft delete element ip poplin cluster-addresses '{ 10.9.9.9 }'")
	eventually(t, "a foreign change of our table is heard", func() bool { return kicked(x) })
	observe(t, x)
}

func TestForeignChangeOfOurTablesKicks(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	want := web()
	reach(t, x, want)
	running(t, x)
	for _, harm := range []string{
		"nft delete element ip poplin services '{ 10.96.0.1 . tcp . 80 }'",
		"nft flush chain ip6 poplin output",
		"nft add set ip poplin mine '{ type ipv4_addr; }'",
		"nft add counter ip poplin mine",
		"nft flush ruleset",
	} {
		n.run(harm)
		eventually(t, "a kick after "+harm, func() bool { return kicked(x) })
		reach(t, x, want)
		if kicked(x) {
			t.Errorf("mending %q kicked", harm)
		}
	}
}

func TestOwnCommitsAndForeignTablesCauseNoWork(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	want := web()
	reach(t, x, want)
	running(t, x)
	settle(t, n, x)
	before := observe(t, x).State
	for i := range 20 {
		n.run(fmt.Sprintf("nft add table ip other; nft add chain ip other poplin; nft add table inet poplin; nft delete table ip other; nft add set inet poplin s%d '{ type ipv4_addr; }'", i))
	}
	for i := range 20 {
		reach(t, x, []reconciler.State{web(), want}[i%2])
	}
	if _, err := x.monitor.drain(); err != nil {
		t.Fatal(err)
	}
	if got := x.monitor.changed(); kicked(x) || len(got) > 0 {
		t.Errorf("to be read again: %v", got)
	}
	for g := range observe(t, x).State.Groups() {
		if before.Group(g.Name) != g {
			t.Errorf("group %s was read anew", g.Name)
		}
	}
}

func TestLostEventsMeanReadingAgain(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	want := web()
	reach(t, x, want)
	// A buffer of the kernel's least size, and nobody who reads.
	if err := x.monitor.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	n.run("for i in $(seq 50); do echo add table ip other; echo delete table ip other; done | nft -f -")
	n.run("nft flush chain ip poplin output")
	if plan := reconciler.Diff(observe(t, x).State, want); len(plan) == 0 {
		t.Fatal("the damage was not seen")
	}
	n.run("for i in $(seq 50); do echo add table ip other; echo delete table ip other; done | nft -f -")
	running(t, x)
	eventually(t, "a kick after lost events", func() bool { return kicked(x) })
	reach(t, x, want)
	expect(t, n, x, want)
}

func TestOwnLargeCommitLosesNoEvents(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	if err := x.monitor.conn.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	want := many(500, 10)
	reach(t, x, want)
	if got := x.monitor.changed(); len(got) > 0 {
		t.Errorf("to be read again: %v", got)
	}
	expect(t, n, x, want)
}

// lookContext does something at a time at which a target has seen which
// tables it is to read, and does not read them yet.
type lookContext struct {
	context.Context
	do func()
}

func (c *lookContext) Err() error {
	do := c.do
	c.do = func() {}
	do()
	return c.Context.Err()
}

// One table is about to be read as the other one is changed, and Run is who
// hears of it: nobody hears of it twice.
func TestChangeOfOneTableWhileTheOtherIsRead(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	want := web()
	reach(t, x, want)
	n.run("nft add element ip poplin cluster-addresses '{ 10.9.9.9 }'")
	look := &lookContext{t.Context(), func() {
		n.run("nft add element ip6 poplin cluster-addresses '{ fd09::9 }'")
		if _, err := x.monitor.drain(); err != nil {
			t.Error(err)
		}
	}}
	if _, err := x.Observe(look); err != nil {
		t.Fatal(err)
	}
	reach(t, x, want)
	expect(t, n, x, want)
}

func TestErrorsThatMayMeanARace(t *testing.T) {
	if !raced(fmt.Errorf("receive: %w", unix.ENOBUFS)) || raced(errors.New("other")) || raced(nil) || raced(unix.EPERM) {
		t.Error("wrong")
	}
}

// The kernel counts its way through the chains of all tables and leaves some
// out when tables before ours go meanwhile.
func TestReadingWhileForeignTablesComeAndGo(t *testing.T) {
	n := newNetns(t)
	script := `for i in $(seq 40); do echo "add table ip t$i"; for k in $(seq 20); do echo "add chain ip t$i c$k"; done; done > $D/add
for i in $(seq 40); do echo "delete table ip t$i"; done > $D/delete`
	prefix := "D=" + t.TempDir() + "; "
	n.run(prefix + script + "; nft -f $D/add")
	x := target(t, n)
	want := web()
	reach(t, x, want)
	done := make(chan error, 1)
	go func() {
		_, err := n.try(prefix + "for i in $(seq 15); do nft -f $D/delete; nft -f $D/add; done")
		done <- err
	}()
	for reads := 0; ; reads++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d reads", reads)
			return
		default:
		}
		x.monitor.forget()
		if plan := reconciler.Diff(observe(t, x).State, want); len(plan) > 0 {
			t.Fatalf("after %d reads there seems to be a need to %s", reads, plan[0])
		}
	}
}

// TestWhoeverLooksBesideTheLoopTakesNoKickAway: a plan that is made beside
// the loop observes too, and may hear of a change before Run does.
func TestWhoeverLooksBesideTheLoopTakesNoKickAway(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	want := web()
	reach(t, x, want)
	running(t, x)
	for range 20 {
		kicked(x)
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.run("nft add element ip poplin cluster-addresses '{ 10.9.9.9 }'")
		}()
		for looking := true; looking; {
			select {
			case <-done:
				looking = false
			default:
				observe(t, x)
			}
		}
		observe(t, x)
		eventually(t, "a kick", func() bool { return kicked(x) })
		reach(t, x, want)
	}
}
