package daemon

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler/view"
)

func TestFormerBackends(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	udp, vxlan, routes := view.Backend{Kind: "udp", Port: 8285}, view.Backend{Kind: "vxlan", Port: 8472, VNI: 1}, view.Backend{Kind: "host-gw"}
	reopen := func() *backendBook {
		t.Helper()
		b, err := openBackendBook(dir)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := reopen()
	ready := func(own view.Backend, seconds int) {
		t.Helper()
		if _, err := b.ready(own, at(seconds)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(list ...view.Backend) {
		t.Helper()
		if diff := cmp.Diff(list, b.all()); diff != "" {
			t.Error(diff)
		}
	}
	expire := func(agreed bool, seconds, next int) {
		t.Helper()
		got, err := b.expire(agreed, at(seconds))
		if err != nil {
			t.Fatal(err)
		}
		if next < 0 && !got.IsZero() || next >= 0 && !got.Equal(at(next)) {
			t.Errorf("looks again after %v, not %d s", got.Sub(start), next)
		}
	}
	ready(udp, 0)
	want(udp)
	expire(true, 0, -1)
	ready(vxlan, 1)
	want(vxlan, udp)
	b = reopen()
	// Some node is late; when it follows, and stays, the former one ends.
	expire(false, 2, 601)
	expire(true, 60, 70)
	expire(false, 65, 601)
	expire(true, 66, 76)
	want(vxlan, udp)
	expire(true, 76, -1)
	want(vxlan)
	want(reopen().all()...)
	// Back and forth. Plain routes are kept, too: what comes beside the tunnel
	// is let through for as long.
	ready(udp, 100)
	ready(routes, 101)
	want(routes, vxlan, udp)
	ready(vxlan, 102)
	want(vxlan, udp, routes)
	// Nobody waits for ever.
	expire(false, 700, 701)
	expire(false, 701, 702)
	expire(false, 702, -1)
	want(vxlan)
}

func TestAgreed(t *testing.T) {
	peers := func(list ...overlay.Peer) overlay.Snapshot { return overlay.Snapshot{Joined: true, Peers: list} }
	late := overlay.Peer{Name: "node-2", State: overlay.PeerAlive, Digest: "old"}
	silent, router := late, late
	silent.State, router.External = overlay.PeerFailed, true
	for name, c := range map[string]struct {
		members overlay.Snapshot
		want    bool
	}{
		"alone":              {peers(), true},
		"not joined":         {overlay.Snapshot{}, false},
		"one is late":        {peers(late), false},
		"one is silent":      {peers(silent), true},
		"one has no daemon":  {peers(router), true},
		"one is late, again": {peers(router, overlay.Peer{State: overlay.PeerAlive, Digest: "new"}, late), false},
	} {
		if got := agreed(c.members, "new"); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
