package overlay

import (
	"errors"
	"slices"
	"time"
)

// onMessage takes in a message of another node. What is wrong with it is
// counted, and it is dropped.
func (c *core) onMessage(data []byte) {
	m, err := decode(data)
	if err != nil {
		reason := "malformed"
		if errors.Is(err, errWireVersion) {
			reason = "version"
		}
		c.drop(reason, err)
		return
	}
	now := c.now()
	switch m := m.(type) {
	case *delta:
		c.onDelta(*m, data, now)
	case *Tombstone:
		c.onTombstones([]Tombstone{*m}, now)
	case *want:
		c.onWant(*m)
	case *whole:
		c.onWhole(*m, now)
	case *check:
		c.onCheck(*m, now)
	case *answer:
		c.onAnswer(*m, now)
	case *state:
		c.onState(*m, now)
	}
}

func (c *core) drop(reason string, err error) {
	c.count(reason)
	c.log.Debug("gossip message dropped", "reason", reason, "error", err)
}

// sender gives the member that a message says to be from, or nil: then it is
// dropped.
func (c *core) sender(name string, now time.Time) *member {
	m := c.members[name]
	if m == nil || !m.up || !c.inRoster(name) {
		c.drop("stranger", errors.New(clip(name)))
		return nil
	}
	m.heard = now
	return m
}

// admit reports whether an entry of another node may come in.
func (c *core) admit(e Entry, now time.Time) bool {
	if !e.timely(now) {
		c.drop("clock", errors.New(e.Node))
		return false
	}
	if e.key() == (recordKey{c.node, c.identity.ID}) {
		c.outrun(e.Generation, e.Version, e.Boot, now)
		return false
	}
	if _, known := c.ledger.entries[e.key()]; !known && len(c.ledger.entries) >= maxVector {
		c.drop("overflow", errors.New(e.Node))
		return false
	}
	return !c.forgettable(e, now)
}

// outrun starts a new generation if somebody knows a record of this node
// that is later than the one it publishes: its state directory was put back
// from a backup, or it has a clone.
func (c *core) outrun(generation, version uint64, boot string, now time.Time) {
	behind := generation > c.generation || generation == c.generation && (version > c.self.Version || boot != c.boot && boot != "")
	if !behind || generation == c.generation && boot == c.boot {
		return
	}
	c.outran = slices.DeleteFunc(c.outran, func(t time.Time) bool { return now.Sub(t) > outrunWindow })
	if len(c.outran) >= outrunLimit {
		return
	}
	c.outran = append(c.outran, now)
	c.diskError = c.nextGeneration(generation)
}

// Within this window a node may be outrun so many times; more often, and it
// is taken for a clone.
const (
	outrunWindow = time.Minute
	outrunLimit  = 3
)

func newer(generation, version uint64, than Entry) bool {
	return generation > than.Generation || generation == than.Generation && version > than.Version
}

func (c *core) onDelta(d delta, raw []byte, now time.Time) {
	key := recordKey{d.Node, d.ID}
	if key == (recordKey{c.node, c.identity.ID}) {
		boot := c.boot
		if d.Head != nil {
			boot = d.Head.Boot
		}
		c.outrun(d.Generation, d.Version, boot, now)
		return
	}
	have, known := c.records.get(key)
	if known && !newer(d.Generation, d.Version, have.Entry) {
		return
	}
	if _, waiting := c.stash.deltas[key][d.Version]; waiting {
		return
	}
	if d.Head != nil {
		if !c.admit(d.Head.Entry, now) {
			return
		}
		c.putEntry(d.Head.Entry, now)
	}
	if m := c.members[d.Node]; m != nil {
		m.heard = now
	}
	base := have
	if !known || have.Generation < d.Generation {
		base = Record{Head: Head{Entry: Entry{Node: d.Node, ID: d.ID, Generation: d.Generation}}}
		if d.Version <= 1 && d.Head == nil {
			c.drop("malformed", errors.New("a record without head"))
			return
		}
	}
	c.relay(raw)
	if !d.Jump {
		c.stash.put(d)
	}
	next, gap := c.stash.advance(base)
	if next.Version > base.Version {
		c.keep(next, now)
	}
	if (gap || d.Jump) && c.gaps[key].IsZero() {
		// What is missing may be on its way.
		c.gaps[key] = now.Add(reorder)
		if d.Jump {
			c.gaps[key] = now
		}
	}
}

// reorder is how long a missing delta is waited for before the whole record
// is asked for.
const reorder = 300 * time.Millisecond

func (c *core) relay(raw []byte) {
	if c.out != nil && len(raw) <= maxGossip {
		c.out.gossip(raw)
	}
}

// keep stores a record that is newer than the one there is.
func (c *core) keep(r Record, now time.Time) {
	key := r.key()
	c.records.put(r)
	c.heardOf = true
	c.unsavedPod = true
	c.putEntry(r.Entry, now)
	if len(c.stash.deltas[key]) == 0 {
		delete(c.gaps, key)
	}
	// A peer that knows the same claims, this node's proposal among them,
	// has answered.
	if r.Ledger == c.digest && c.claimer.has(Proposed) {
		c.answered[r.Node] = max(c.answered[r.Node], c.self.Version)
	}
}

// maxAwaited is how many peers are asked for everything at a time.
const maxAwaited = 3

// fillGaps asks for whole records where deltas are missing.
func (c *core) fillGaps(now time.Time) {
	if c.out == nil {
		return
	}
	for key, at := range c.gaps {
		m := c.members[key.node]
		if m == nil || !m.up {
			delete(c.gaps, key) // push/pull with somebody else will tell
			continue
		}
		if now.Before(at) {
			continue
		}
		c.gaps[key] = now.Add(time.Second)
		c.out.send(key.node, m.addr, encode(kindWant, want{c.node, []string{key.node}}))
	}
	if !c.exchanged && len(c.awaiting) == 0 {
		// A push/pull may fail halfway, after which the two see each other
		// alive and nobody dials again.
		for name, m := range c.members {
			if m.up && c.inRoster(name) && len(c.awaiting) < maxAwaited {
				c.awaiting[name] = time.Time{}
			}
		}
	}
	for name, at := range c.awaiting {
		if m := c.members[name]; m == nil || !m.up {
			delete(c.awaiting, name)
		} else if now.Sub(at) >= time.Second {
			c.awaiting[name] = now
			c.out.send(name, m.addr, encode(kindWant, want{c.node, nil}))
		}
	}
}

func (c *core) onTombstones(all []Tombstone, now time.Time) {
	for _, t := range all {
		if tooFarAhead(t.Clock, now) || len(c.ledger.tombs) >= maxTombs {
			c.drop("clock", errors.New(t.What))
			continue
		}
		if c.bury(t, now) {
			c.relay(encode(kindBury, t))
		}
	}
}

// onWant sends the records of the named nodes, or all if none is named.
func (c *core) onWant(w want) {
	m := c.sender(w.From, c.now())
	if m == nil || c.out == nil {
		return
	}
	message := whole{From: c.node}
	size := 0
	for _, r := range c.records.sorted() {
		if len(w.Nodes) > 0 && !slices.Contains(w.Nodes, r.Node) {
			continue
		}
		n := r.size()
		if size > 0 && size+n > maxWhole {
			message.More = true
			c.out.send(w.From, m.addr, encode(kindWhole, message))
			message, size = whole{From: c.node}, 0
		}
		message.Records = append(message.Records, r)
		size += n
	}
	if len(w.Nodes) == 0 {
		message.Tombstones = c.ledger.tombstones()
	}
	c.out.send(w.From, m.addr, encode(kindWhole, message))
}

// size estimates the encoded size in bytes.
func (r Record) size() int { return maxHead + 120*len(r.Pods) }

func (c *core) onWhole(w whole, now time.Time) {
	if c.sender(w.From, now) == nil {
		return
	}
	for _, r := range w.Records {
		if !c.admit(r.Entry, now) {
			continue
		}
		if have, known := c.records.get(r.key()); !known || newer(r.Generation, r.Version, have.Entry) {
			next, _ := c.stash.advance(r)
			c.keep(next, now)
		}
	}
	c.onTombstones(w.Tombstones, now)
	if _, asked := c.awaiting[w.From]; asked && !w.More && !w.Push {
		delete(c.awaiting, w.From)
		c.exchangedWith(w.From)
	}
}

func (c *core) exchangedWith(name string) {
	if !c.exchanged {
		c.log.Info("gossip joined", "through", name)
	}
	c.exchanged, c.heardOf = true, true
}

// onCheck merges the claims of a peer that proposes, and answers with what
// stands against them.
func (c *core) onCheck(q check, now time.Time) {
	m := c.sender(q.Head.Node, now)
	if m == nil || c.out == nil || !c.admit(q.Head.Entry, now) {
		return
	}
	c.putEntry(q.Head.Entry, now)
	c.stepClaims(now)
	a := answer{From: c.node, ID: q.Head.ID, Generation: q.Head.Generation, Version: q.Head.Version}
	if c.self.Version > 0 {
		a.Entries = append(a.Entries, c.self.Entry)
	}
	for _, o := range c.ledger.standing() {
		against := func(p Claim) bool { return p.Prefix.Overlaps(o.Prefix) && o.node != q.Head.Node }
		if slices.ContainsFunc(q.Head.Claims, against) && len(a.Entries) < maxStanding {
			a.Entries = append(a.Entries, c.ledger.entries[recordKey{o.node, o.id}])
		}
	}
	for _, claim := range q.Head.Claims {
		for _, what := range []string{q.Head.Node, claim.Prefix.String()} {
			if at := c.ledger.tombs[what]; at > 0 {
				a.Tombstones = append(a.Tombstones, Tombstone{what, at})
			}
		}
	}
	c.out.send(q.Head.Node, m.addr, encode(kindAnswer, a))
}

func (c *core) onAnswer(a answer, now time.Time) {
	if c.sender(a.From, now) == nil {
		return
	}
	for _, e := range a.Entries {
		if c.admit(e, now) {
			c.putEntry(e, now)
		}
	}
	c.onTombstones(a.Tombstones, now)
	if a.ID == c.identity.ID && a.Generation == c.generation {
		c.answered[a.From] = max(c.answered[a.From], a.Version)
	}
}

// onState compares what a peer has with what this node has, and asks for
// what it lacks. Once it has that, the two have exchanged state.
func (c *core) onState(s state, now time.Time) {
	m := c.sender(s.From, now)
	if m == nil {
		return
	}
	c.onTombstones(s.Tombstones, now)
	var lack []string
	for _, h := range s.Have {
		key := recordKey{h.Node, h.ID}
		if key == (recordKey{c.node, c.identity.ID}) {
			c.outrun(h.Generation, h.Version, "", now)
			continue
		}
		have, known := c.records.get(key)
		if (!known || newer(h.Generation, h.Version, have.Entry)) && !slices.Contains(lack, h.Node) {
			lack = append(lack, h.Node)
		}
	}
	if len(lack) == 0 {
		c.exchangedWith(s.From)
		return
	}
	if c.out != nil {
		c.awaiting[s.From] = now
		c.out.send(s.From, m.addr, encode(kindWant, want{c.node, lack[:min(len(lack), maxWants)]}))
	}
}
