package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/nft"
)

// forgedEvery is how often the counters of forged packets are read, and so how
// often at most each of them is warned about.
const forgedEvery = time.Minute

// guarded is a place where nftables drops forged packets, and what was wrong
// with them.
type guarded struct {
	port   uint16 // of a tunnel
	link   string // or a link
	reason udp.Reason
}

// String is the key in status: "port 8472 unknown-peer".
func (g guarded) String() string {
	if g.link != "" {
		return fmt.Sprintf("link %s %s", g.link, g.reason)
	}
	return fmt.Sprintf("port %d %s", g.port, g.reason)
}

// attributes are for the log.
func (g guarded) attributes() []any {
	if g.link != "" {
		return []any{"link", g.link, "reason", g.reason.String()}
	}
	return []any{"port", g.port, "reason", g.reason.String()}
}

// forged reads how many packets nftables has dropped where, of both families.
func (d *Daemon) forged(ctx context.Context) (map[guarded]uint64, error) {
	if d.loop.Load() == nil {
		return nil, nil
	}
	counts, err := d.targets.nft.Counters(ctx, reconciler.SetUnknownPeers, reconciler.SetForeignSources)
	return forgedOf(counts), err
}

func forgedOf(counts map[reconciler.ElementKey]nft.Count) map[guarded]uint64 {
	out := map[guarded]uint64{}
	for key, c := range counts {
		g := guarded{port: key.Port, link: key.Link, reason: udp.UnknownPeer}
		if key.Set == reconciler.SetForeignSources {
			g.reason = udp.ForeignSource
		}
		if c.Packets > 0 {
			out[g] += c.Packets
		}
	}
	return out
}

// watchForged warns of forged packets, once a minute as long as they come.
func (d *Daemon) watchForged(ctx context.Context) error {
	ticks := time.NewTicker(forgedEvery)
	defer ticks.Stop()
	var before map[guarded]uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		now, err := d.forged(ctx)
		if err != nil {
			d.log.Warn("counters of forged packets", "error", err)
			continue
		}
		grown := growth(before, now)
		for _, g := range slices.SortedFunc(maps.Keys(grown), func(a, b guarded) int { return cmp.Compare(a.String(), b.String()) }) {
			d.log.Warn("dropped forged packets", append(g.attributes(), "packets", grown[g])...)
		}
		before = now
	}
}

// growth says by how much counters have grown. One that is lower than it was
// began anew, with its table.
func growth(before, now map[guarded]uint64) map[guarded]uint64 {
	out := map[guarded]uint64{}
	for g, n := range now {
		if was := before[g]; was <= n {
			n -= was
		}
		if n > 0 {
			out[g] = n
		}
	}
	return out
}
