package overlay

import (
	"reflect"
	"slices"
	"time"
)

const (
	// refresh is how often a node renews its stamp, from which others count
	// the retention of its claims.
	refresh = time.Hour
	// settled is how long the ledger's digest rests before it is announced.
	settled = 500 * time.Millisecond
)

// publishClaims publishes and remembers which version announced the newest
// proposal.
func (c *core) publishClaims(now time.Time) {
	c.publish(now)
	if c.claimer.proposed.Equal(now) {
		c.proposal = c.self.Version
	}
}

// publish makes the next version of this node's record if there is anything
// new in it.
func (c *core) publish(now time.Time) {
	if c.digest != c.told && now.Sub(c.changed) >= settled {
		c.told = c.digest
	}
	if c.frozen(now) || !c.configured {
		return
	}
	next := Record{Head: c.head(), Pods: c.announcement.Pods}
	if c.self.Version > 0 && sameHead(c.self.Head, next.Head) && slices.EqualFunc(c.self.Pods, next.Pods, PodEntry.equal) &&
		now.Sub(c.self.Stamp.Time()) < refresh {
		return
	}
	next.Stamp = c.clock.next(now)
	steps, next := deltas(c.self, next)
	if c.self.Version == 0 && len(steps) > 1 {
		// A new generation replaces the old one in one step, else pods would
		// seem to be gone in between.
		head := next.Head
		steps = []delta{{Node: c.node, ID: c.identity.ID, Generation: c.generation, Version: next.Version, Jump: true, Head: &head}}
	}
	c.self = next
	c.records.put(next)
	c.putEntry(next.Entry, now)
	c.unsavedPod = true
	if c.out == nil {
		return
	}
	for _, d := range steps {
		message := encode(kindDelta, d)
		c.out.gossip(message)
		for name := range c.deaf {
			c.out.send(name, c.members[name].addr, message)
		}
	}
}

// findDeaf notices peers that UDP does not reach. They get this node's
// record over a stream, and from now on each change of it.
func (c *core) findDeaf(now time.Time) {
	for name, m := range c.members {
		deaf := m.up && now.Sub(m.since) > c.timing.tcpOnly(len(c.members)) && !c.out.answersUDP(name)
		if deaf == c.deaf[name] {
			continue
		}
		delete(c.deaf, name)
		if deaf {
			c.deaf[name] = true
			c.log.Warn("peer answers over TCP only", "node", name, "address", m.addr.String())
			if c.self.Version > 0 {
				c.out.send(name, m.addr, encode(kindWhole, whole{From: c.node, Records: []Record{c.self}, Push: true}))
			}
		}
	}
}

func (c *core) head() Head {
	n := c.announcement
	h := Head{
		Entry: Entry{
			Node: c.node, ID: c.identity.ID, Birth: c.claimer.birth, Generation: c.generation, Boot: c.boot,
			Claims: c.claimer.announced(), Replaces: c.claimer.replaces,
		},
		Gossip: c.network.gossip, Underlay: n.Underlay, Transport: n.Transport, MTU: n.MTU,
		Revision: n.Revision, Digest: n.Digest, Rejected: n.Rejected, Keys: c.network.keys, Ledger: c.told, Health: n.Health,
	}
	if c.stopping && !n.NeedsDaemon {
		h.Stopping = c.clock.last
	}
	// Versions and stamps grow; leave room for them.
	h.Version, h.Stamp = 1<<32, c.clock.last
	h = h.fit()
	h.Version, h.Stamp = 0, 0
	return h
}

// sameHead compares heads but for version and stamp.
func sameHead(a, b Head) bool {
	a.Version, b.Version = 0, 0
	a.Stamp, b.Stamp = 0, 0
	return reflect.DeepEqual(a, b)
}

// putEntry gives an entry to the ledger. If that changes what stands there,
// the quiet period starts anew and the ledger is written.
func (c *core) putEntry(e Entry, now time.Time) {
	old := c.ledger.entries[e.key()]
	c.clock.observe(e.latest())
	if !c.ledger.put(e) {
		return
	}
	if !slices.Equal(old.Claims, e.Claims) || !slices.Equal(old.Replaces, e.Replaces) {
		c.ledgerChanged(now)
	}
}

func (c *core) bury(t Tombstone, now time.Time) bool {
	c.clock.observe(t.Clock)
	if !c.ledger.bury(t) {
		return false
	}
	c.ledgerChanged(now)
	return true
}

func (c *core) ledgerChanged(now time.Time) {
	c.unsaved = true
	c.buryDeparted(now)
	if digest := c.ledger.digest(); digest != c.digest {
		c.digest, c.changed = digest, now
	}
}

// maxAsks is how many peers are asked in one round.
const maxAsks = 8

// askForAnswers asks every alive peer that has not answered this node's
// proposal yet, once a second each. Most answer without being asked, by
// announcing the same ledger, so they get some time to do so.
func (c *core) askForAnswers(now time.Time) {
	if !c.claimer.has(Proposed) || c.frozen(now) || c.self.Version == 0 || c.out == nil ||
		now.Sub(c.claimer.proposed) < c.timing.Confirm/2 {
		return
	}
	var message []byte
	asks := 0
	for _, name := range c.aliveNames() {
		if c.answered[name] >= c.proposal || now.Sub(c.asked[name]) < time.Second {
			continue
		}
		if message == nil {
			message = encode(kindCheck, check{c.self.Head})
		}
		if asks++; asks > maxAsks {
			return
		}
		c.asked[name] = now
		c.out.send(name, c.members[name].addr, message)
	}
}

// stop marks the record of a daemon that is being stopped, tells every alive
// peer, and writes everything to disk.
func (c *core) stop() {
	now := c.now()
	c.stopping = true
	before := c.self.Version
	c.publish(now)
	if c.out != nil && before != c.self.Version {
		// Whole, since a peer that misses a step before has nobody to ask.
		message := encode(kindWhole, whole{From: c.node, Records: []Record{c.self}, Push: true})
		for _, name := range c.aliveNames() {
			c.out.send(name, c.members[name].addr, message)
		}
	}
	c.unsaved = true
	c.saved = time.Time{}
	c.save(now)
	if c.diskError != nil {
		c.log.Error("gossip state not written", "error", c.diskError)
	}
}
