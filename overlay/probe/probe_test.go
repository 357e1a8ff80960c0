package probe_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poplin-net/poplin/overlay/probe"
	"github.com/poplin-net/poplin/reconciler/hosttest"
)

func do(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) && os.Getenv("POPLIN_TEST_REQUIRE") != "1" {
			t.Skip(err)
		}
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func TestLiesAreFound(t *testing.T) {
	if !hosttest.FreshNetwork(t) {
		return
	}
	do(t, "ip", "link", "set", "lo", "up")
	do(t, "nft", `table inet lies {
		chain in {
			type filter hook input priority 0
			ip daddr 127.0.0.2 icmp type echo-request ip length > 1000 drop
			ip daddr 127.0.0.3 drop
			icmpv6 type echo-request meta length > 1201 drop
		}
	}`)
	p := probe.New(probe.Options{Patience: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	target := func(node, address string) probe.Target {
		return probe.Target{Node: node, Address: netip.MustParseAddr(address), Size: 1472}
	}
	honest, lying, silent, six := target("honest", "127.0.0.1"), target("lying", "127.0.0.2"), target("silent", "127.0.0.3"), target("six", "::1")
	want := func(list ...probe.Lie) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for ; cmp.Diff(list, p.Lies(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) != ""; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("found %v, not %v", p.Lies(), list)
			}
		}
	}
	p.Follow([]probe.Target{honest, lying, silent, six})
	want(probe.Lie{Target: lying, Fits: 1000}, probe.Lie{Target: six, Fits: 1201})
	// It is mended: another size is another path.
	do(t, "nft", "flush ruleset")
	lying.Size = 1400
	p.Follow([]probe.Target{honest, lying})
	want()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
