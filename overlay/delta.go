package overlay

import (
	"encoding/json"
	"slices"
)

// maxDeltas is into how many messages a change is cut. A bigger one is
// announced as a jump, and everybody fetches the whole record.
const maxDeltas = 4

// deltas cuts the change from one state of a record to the next into
// messages, each one version on from the one before, and gives the new record
// with the version of the last one. The versions of next are set here.
func deltas(before, next Record) ([]delta, Record) {
	step := func(version uint64) delta {
		return delta{Node: next.Node, ID: next.ID, Generation: next.Generation, Version: version}
	}
	next.Version = before.Version + 1
	head := next.Head
	first := step(next.Version)
	first.Head = &head
	out := []delta{first}
	set, gone := diffPods(before.Pods, next.Pods)
	size := next.Head.size() + envelope
	add := func(n int) *delta {
		if size+n > maxGossip {
			next.Version++
			out = append(out, step(next.Version))
			size = envelope + len(next.Node)
		}
		size += n
		return &out[len(out)-1]
	}
	for _, p := range set {
		d := add(podSize(p))
		d.Set = append(d.Set, p)
	}
	for _, name := range gone {
		d := add(len(name) + 3)
		d.Gone = append(d.Gone, name)
	}
	if len(out) > maxDeltas {
		head.Version = next.Version
		jump := step(next.Version)
		jump.Jump, jump.Head = true, &head
		return []delta{jump}, next
	}
	return out, next
}

// envelope is what a delta's own fields take, in bytes, names left out.
const envelope = 200

func podSize(p PodEntry) int {
	data, err := json.Marshal(p)
	if err != nil {
		return maxGossip
	}
	return len(data) + 1
}

func diffPods(before, next []PodEntry) (set []PodEntry, gone []string) {
	old := make(map[string]PodEntry, len(before))
	for _, p := range before {
		old[p.key()] = p
	}
	for _, p := range next {
		if o, ok := old[p.key()]; !ok || !o.equal(p) {
			set = append(set, p)
		}
		delete(old, p.key())
	}
	for _, p := range before {
		if _, left := old[p.key()]; left {
			gone = append(gone, p.key())
		}
	}
	return set, gone
}

// apply gives the record after the delta, which must be the next step.
func (r Record) apply(d delta) Record {
	if d.Head != nil {
		r.Head = *d.Head
	}
	r.Version = d.Version
	if len(d.Set) == 0 && len(d.Gone) == 0 {
		return r
	}
	changed := func(p PodEntry) bool {
		return slices.Contains(d.Gone, p.key()) || slices.ContainsFunc(d.Set, func(o PodEntry) bool { return o.key() == p.key() })
	}
	r.Pods = slices.DeleteFunc(slices.Clone(r.Pods), changed)
	r.Pods = append(r.Pods, d.Set...)
	slices.SortFunc(r.Pods, comparePods)
	r.Pods = slices.CompactFunc(r.Pods, func(a, b PodEntry) bool { return comparePods(a, b) == 0 })
	r.Pods = r.Pods[:min(len(r.Pods), maxPods)]
	return r
}

// stash holds deltas that came before their turn: memberlist sends big
// messages first, and UDP reorders.
type stash struct {
	deltas map[recordKey]map[uint64]delta
}

// maxStash is how many deltas of one node are kept.
const maxStash = 32

func (s *stash) put(d delta) {
	if s.deltas == nil {
		s.deltas = map[recordKey]map[uint64]delta{}
	}
	key := recordKey{d.Node, d.ID}
	if s.deltas[key] == nil {
		s.deltas[key] = map[uint64]delta{}
	}
	if len(s.deltas[key]) < maxStash {
		s.deltas[key][d.Version] = d
	}
}

// advance applies what fits on top of the record and drops what is behind
// it. It reports whether anything is still left, that is, whether there is a
// gap.
func (s *stash) advance(r Record) (Record, bool) {
	waiting := s.deltas[r.key()]
	for {
		d, ok := waiting[r.Version+1]
		if !ok || d.Jump || d.Generation != r.Generation {
			break
		}
		r = r.apply(d)
	}
	for version, d := range waiting {
		if d.Generation < r.Generation || d.Generation == r.Generation && version <= r.Version {
			delete(waiting, version)
		}
	}
	if len(waiting) == 0 {
		delete(s.deltas, r.key())
		return r, false
	}
	return r, true
}
