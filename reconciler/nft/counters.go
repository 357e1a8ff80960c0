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

// readCounters adds the counters of one set. It is read again where the
// kernel rearranged it meanwhile, see readElements.
func (r *reader) readCounters(l layout, out map[reconciler.ElementKey]Count) error {
	for range readTries {
		twice, err := r.tryCounters(l, out)
		if errors.Is(err, unix.ENOENT) {
			return nil // no table, or somebody else's
		}
		if err != nil || !twice {
			return err
		}
	}
	return errors.New("the kernel rearranges it faster than it can be read")
}

func (r *reader) tryCounters(l layout, out map[reconciler.ElementKey]Count) (twice bool, err error) {
	seen := map[string]bool{}
	for m, err := range r.dump(unix.NFT_MSG_GETSETELEM,
		stringAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, tableName),
		stringAttribute(unix.NFTA_SET_ELEM_LIST_SET, string(l.name))) {
		if err != nil {
			return false, err
		}
		list, _ := find(m, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for a := range attributes(list.data) {
			raw, err := parseElement(a.data, l.counts)
			if err != nil {
				continue // a round will find the damage
			}
			e, err := l.element(r.family, raw)
			if err != nil {
				continue
			}
			key := string(raw.key) + string(raw.keyEnd)
			twice = twice || seen[key]
			seen[key] = true
			out[e.Key().(reconciler.ElementKey)] = raw.count
		}
	}
	return twice, nil
}
