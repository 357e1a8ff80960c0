package linux_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

func TestProxyNeighbours(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	ip(t, "link add up0 type veth peer name up1")
	ip(t, "link set up0 up")
	ip(t, "link set up1 up")
	ip(t, "address add 192.0.2.1/24 dev up0")
	ip(t, "neighbour add proxy 192.0.2.250 dev up0")
	n := newNode(t)
	if _, err := n.Underlay(t.Context(), "up0"); err != nil {
		t.Fatal(err)
	}
	n.run(t)
	proxies := []reconciler.Object{
		reconciler.ProxyNeighbour{Address: netip.MustParseAddr("192.0.2.240"), Link: "up0"},
		reconciler.ProxyNeighbour{Address: netip.MustParseAddr("2001:db8::240"), Link: "up0"},
	}
	n.settle(t, proxies...)
	n.wantState(t, proxies...)
	if out := ip(t, "neighbour show proxy"); !strings.Contains(out, "192.0.2.240 dev up0 proxy proto 112") || !strings.Contains(out, "192.0.2.250 dev up0 proxy \n") {
		t.Errorf("proxies: %s", out)
	}

	// What goes with its link comes back.
	n.quiet(t, 50*time.Millisecond)
	ip(t, "link set up0 down")
	ip(t, "link set up0 up")
	t.Logf("heard in %v", n.awaitChange(t, "link down"))
	n.wantState(t)
	n.settle(t, proxies...)

	ip(t, "neighbour add proxy 192.0.2.250 dev up0")
	// Somebody else's under the same name stays theirs.
	foreign := reconciler.ProxyNeighbour{Address: netip.MustParseAddr("192.0.2.250"), Link: "up0"}
	round := n.converge(t, append(proxies, foreign)...)
	var conflict *reconciler.ConflictError
	if !errors.As(round.Err, &conflict) || conflict.Conflict.Key != foreign.Key() {
		t.Errorf("round: %v, want a conflict about %s", round.Err, foreign)
	}
	n.settle(t)
	if out := ip(t, "neighbour show proxy"); !strings.Contains(out, "192.0.2.250") || strings.Contains(out, "proto") {
		t.Errorf("proxies that are left: %s", out)
	}
}
