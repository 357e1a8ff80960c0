package overlay

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// Tombstone voids claims: those of a node, or those of one subnet, whose
// epoch is not later than Clock.
type Tombstone struct {
	What  string `json:"w"` // a node's name, or a subnet as text
	Clock Stamp  `json:"c"`
}

func (t Tombstone) check() error {
	prefix, err := netip.ParsePrefix(t.What)
	if err == nil && validPrefix(prefix) && prefix.String() == t.What {
		return nil
	}
	if t.What == "" || len(t.What) > maxName || !plain(t.What) {
		return fmt.Errorf("tombstone of %q", clip(t.What))
	}
	return nil
}

// Owner says which node owns a claimed subnet.
type Owner struct {
	Prefix netip.Prefix
	Node   string
}

// claimed is a claim with who makes it.
type claimed struct {
	Claim
	node, id string
}

// order sorts claims; the first of two that overlap wins.
type order func(a, b claimed) int

// byEpoch is the order that all nodes share: first come, first served, and
// among equals the node ID decides, which is the same number everywhere.
// Name and subnet complete it to a total order where an ID was cloned.
func byEpoch(a, b claimed) int {
	return cmp.Or(
		cmp.Compare(a.Epoch, b.Epoch),
		cmp.Compare(a.id, b.id),
		cmp.Compare(a.node, b.node),
		comparePrefixes(a.Prefix, b.Prefix),
	)
}

// ledger is the set of all claims that a node has heard of. Merging is
// commutative, associative and idempotent: it keeps the latest entry of each
// installation and the latest tombstone of each name and subnet. It neither
// knows who is alive nor what the documents say, so that the same claims
// give the same owners at every node, in whatever order they came.
//
// Two installations of one name are two entries. A reinstalled machine takes
// over its predecessor's claims by repeating them, and names it in Replaces;
// from then on the predecessor's entry is void. Whether the predecessor is
// alive is the successor's business, before it does so.
type ledger struct {
	entries map[recordKey]Entry
	arrived []recordKey // keys of entries, in the order in which they came
	tombs   map[string]Stamp
	// stands caches standing; nil: not known.
	stands []claimed
}

func newLedger() *ledger {
	return &ledger{entries: map[recordKey]Entry{}, tombs: map[string]Stamp{}}
}

// put keeps the entry if it is later than what is known of its installation,
// and reports whether it was.
func (l *ledger) put(e Entry) bool {
	old, known := l.entries[e.key()]
	if known && e.compare(old) <= 0 {
		return false
	}
	if !known {
		l.arrived = append(l.arrived, e.key())
	}
	if !slices.Equal(old.Claims, e.Claims) || !slices.Equal(old.Replaces, e.Replaces) || old.Birth != e.Birth {
		l.stands = nil
	}
	l.entries[e.key()] = e
	return true
}

// bury keeps the tombstone if it is later than the one there is, and reports
// whether it was.
func (l *ledger) bury(t Tombstone) bool {
	if t.Clock <= l.tombs[t.What] {
		return false
	}
	l.tombs[t.What] = t.Clock
	l.stands = nil
	return true
}

// merge takes over what the other ledger knows and reports whether that was
// anything new.
func (l *ledger) merge(o *ledger) bool {
	changed := false
	for _, key := range o.arrived {
		changed = l.put(o.entries[key]) || changed
	}
	for what, at := range o.tombs {
		changed = l.bury(Tombstone{what, at}) || changed
	}
	return changed
}

func (l *ledger) forget(key recordKey) {
	delete(l.entries, key)
	l.stands = nil
	l.arrived = slices.DeleteFunc(l.arrived, func(k recordKey) bool { return k == key })
}

// buried reports whether a tombstone voids the claim of that node.
func (l *ledger) buried(node string, c Claim) bool {
	return c.Epoch <= l.tombs[node] || len(l.tombs) > 0 && c.Epoch <= l.tombs[c.Prefix.String()]
}

// superseded reports whether a later installation took over from the entry.
func (l *ledger) superseded(e Entry) bool {
	for _, o := range l.entries {
		if o.supersedes(e) {
			return true
		}
	}
	return false
}

// standing lists the claims that no tombstone and no successor voids, in the
// order in which their entries came. The slice is not to be changed.
func (l *ledger) standing() []claimed {
	if l.stands != nil {
		return l.stands
	}
	successors := map[string][]Entry{}
	for _, e := range l.entries {
		if len(e.Replaces) > 0 {
			successors[e.Node] = append(successors[e.Node], e)
		}
	}
	out := []claimed{}
	for _, key := range l.arrived {
		e := l.entries[key]
		if slices.ContainsFunc(successors[e.Node], func(s Entry) bool { return s.supersedes(e) }) {
			continue
		}
		for _, c := range e.Claims {
			if !l.buried(e.Node, c) {
				out = append(out, claimed{c, e.Node, e.ID})
			}
		}
	}
	l.stands = out
	return out
}

// winners resolves the claims: in the given order, each that overlaps none
// accepted before it, and none of the pinned subnets.
func (l *ledger) winners(pinned []netip.Prefix, by order) []claimed {
	all := slices.Clone(l.standing())
	slices.SortStableFunc(all, by)
	var taken bart.Lite
	for _, p := range pinned {
		taken.Insert(p)
	}
	won := all[:0]
	for _, c := range all {
		if taken.OverlapsPrefix(c.Prefix) {
			continue
		}
		taken.Insert(c.Prefix)
		won = append(won, c)
	}
	return won
}

// owners lists who owns what, sorted by subnet.
func (l *ledger) owners(pinned []netip.Prefix, by order) []Owner {
	won := l.winners(pinned, by)
	out := make([]Owner, len(won))
	for i, c := range won {
		out[i] = Owner{c.Prefix, c.node}
	}
	slices.SortFunc(out, func(a, b Owner) int { return comparePrefixes(a.Prefix, b.Prefix) })
	return out
}

// digest is equal at two nodes when they know the same standing claims and
// the same tombstones: 16 hexadecimal digits. Versions and stages are left
// out, so that it rests when nothing changes hands.
func (l *ledger) digest() string {
	all := slices.Clone(l.standing())
	slices.SortFunc(all, byEpoch)
	h := sha256.New()
	for _, c := range all {
		fmt.Fprintf(h, "%s %s %s %d\n", c.node, c.id, c.Prefix, c.Epoch)
	}
	for _, what := range slices.Sorted(maps.Keys(l.tombs)) {
		fmt.Fprintf(h, "%s %d\n", what, l.tombs[what])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// latest gives the greatest stamp in the ledger, with which a clock is set
// after a restart.
func (l *ledger) latest() Stamp {
	var s Stamp
	for _, e := range l.entries {
		s = max(s, e.latest())
	}
	for _, at := range l.tombs {
		s = max(s, at)
	}
	return s
}

// latest gives the greatest stamp in the entry.
func (e Entry) latest() Stamp {
	s := max(e.Stamp, e.Birth)
	for _, c := range e.Claims {
		s = max(s, c.Epoch)
	}
	return s
}

func (l *ledger) tombstones() []Tombstone {
	out := make([]Tombstone, 0, len(l.tombs))
	for _, what := range slices.Sorted(maps.Keys(l.tombs)) {
		out = append(out, Tombstone{what, l.tombs[what]})
	}
	return out
}
