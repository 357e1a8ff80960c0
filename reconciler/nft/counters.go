package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// Count is what an element of a set that counts has seen since it was made.
// Segments that a link hands on in one piece (GRO) are one packet; the bytes
// are those of whole IP packets.
type Count struct{ Packets, Bytes uint64 }

// parseCounter reads the counter of an element.
func parseCounter(b []byte) (c Count) {
	data, _ := find(b, unix.NFTA_EXPR_DATA)
	for a := range attributes(data.data) {
		if len(a.data) < 8 {
			continue
		}
		switch a.kind {
		case unix.NFTA_COUNTER_PACKETS:
			c.Packets = binary.BigEndian.Uint64(a.data)
		case unix.NFTA_COUNTER_BYTES:
			c.Bytes = binary.BigEndian.Uint64(a.data)
		}
	}
	return c
}

// Counters reads what the elements of sets that count have seen: of some, or
// of all if none is named. It waits for nobody and keeps nobody waiting: a
// round may go on meanwhile. While frontends come and go one may be missing.
func (t *Target) Counters(ctx context.Context, sets ...reconciler.SetName) (map[reconciler.ElementKey]Count, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: t.netns})
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	out := map[reconciler.ElementKey]Count{}
	for _, f := range families() {
		r := &reader{conn: conn, family: f}
		for _, l := range layouts() {
			if !l.counts || len(sets) > 0 && !slices.Contains(sets, l.name) {
				continue
			}
			if err := errors.Join(ctx.Err(), r.readCounters(l, out)); err != nil {
				return nil, errors.Join(fmt.Errorf("set %s of table %s %s: %w", l.name, f, tableName, err), conn.Close())
			}
		}
	}
	return out, conn.Close()
}

// readCounters adds the counters of one set.
func (r *reader) readCounters(l layout, out map[reconciler.ElementKey]Count) error {
	err := r.dumpSet(l, func() {}, func(raw rawElement, err error) {
		if err != nil {
			return // a round will find the damage
		}
		if e, err := l.element(r.family, raw); err == nil {
			out[e.Key().(reconciler.ElementKey)] = raw.count
		}
	})
	if errors.Is(err, unix.ENOENT) {
		return nil // no table, or somebody else's
	}
	return err
}
