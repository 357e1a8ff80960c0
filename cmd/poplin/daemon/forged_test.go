package daemon

import (
	"maps"
	"testing"

	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/nft"
)

// The two families of one port or link are one line; what has dropped nothing
// is none.
func TestForgedOf(t *testing.T) {
	key := func(f reconciler.Family, e reconciler.Element) reconciler.ElementKey {
		e.Family = f
		return e.Key().(reconciler.ElementKey)
	}
	port := reconciler.Element{Set: reconciler.SetUnknownPeers, Protocol: reconciler.UDP, Port: 8472}
	link := reconciler.Element{Set: reconciler.SetForeignSources, Link: "eth0"}
	quiet := reconciler.Element{Set: reconciler.SetForeignSources, Link: "poplin.1"}
	got := map[string]uint64{}
	for g, n := range forgedOf(map[reconciler.ElementKey]nft.Count{
		key(reconciler.IPv4, port): {Packets: 3}, key(reconciler.IPv4, link): {Packets: 5}, key(reconciler.IPv6, link): {Packets: 7},
		key(reconciler.IPv4, quiet): {},
	}) {
		got[g.String()] = n
	}
	if want := map[string]uint64{"port 8472 unknown-peer": 3, "link eth0 foreign-source": 12}; !maps.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

func TestGrowth(t *testing.T) {
	a, b, c := guarded{port: 1, reason: udp.UnknownPeer}, guarded{port: 2, reason: udp.UnknownPeer}, guarded{link: "eth0", reason: udp.ForeignSource}
	before := map[guarded]uint64{a: 5, b: 7, c: 9}
	if got, want := growth(before, map[guarded]uint64{a: 5, b: 8, c: 2}), (map[guarded]uint64{b: 1, c: 2}); !maps.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if got := growth(nil, before); !maps.Equal(got, before) {
		t.Errorf("from the start: %v", got)
	}
}
