package overlay

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

func compareKeys(a, b recordKey) int {
	return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.id, b.id))
}

func sortRecords(all []Record) {
	slices.SortFunc(all, func(a, b Record) int { return compareKeys(a.key(), b.key()) })
}

func (c *core) onMember(e evMember) {
	now := c.now()
	if e.name == c.node {
		return
	}
	m := c.members[e.name]
	if m == nil {
		m = &member{}
		c.members[e.name] = m
	}
	changed := m.up != e.up
	m.addr, m.meta = e.addr, e.meta
	m.stale = time.Time{}
	if e.up {
		m.heard, m.silent = now, false
		delete(c.wasFailed, e.name)
	}
	if !changed {
		return
	}
	m.up, m.since, m.silent = e.up, now, false
	delete(c.answered, e.name)
	delete(c.asked, e.name)
	c.changed = now // the quiet period starts anew
	c.unsavedPod = true
	word := "peer alive"
	if !e.up {
		word = "peer failed"
	}
	c.log.Info(word, "node", e.name, "address", e.addr.String())
}

// onVersion notices by the answer to a probe that a change was missed.
func (c *core) onVersion(e evVersion) {
	m := c.members[e.name]
	if m == nil || !m.up {
		return
	}
	key := recordKey{e.name, m.meta.id}
	have, known := c.records.get(key)
	if (!known || newer(e.generation, e.version, have.Entry)) && c.gaps[key].IsZero() && key.node != c.node {
		c.gaps[key] = c.now().Add(reorder)
	}
}

// conflict is a second node of one name.
type conflict struct {
	evConflict
	first, last time.Time // when it was heard of
	sameID      bool      // both have one ID
}

const (
	// conflictMemory is how long a second node of one name is remembered after
	// it was heard of last; memberlist tells again with each push/pull.
	conflictMemory = 45 * time.Second
	// ghostLife is how long a node that has moved to another address may seem
	// to be its own double.
	ghostLife = 15 * time.Second
)

func (c *core) onConflict(e evConflict) {
	now := c.now()
	id := c.identity.ID
	if e.name != c.node {
		id = ""
		if m := c.members[e.name]; m != nil {
			id = m.meta.id
		}
	} else if e.meta.boot == c.boot {
		return // this node itself, where it listened before
	}
	before := c.conflicts[e.name]
	known := conflict{e, now, now, id == e.meta.id}
	if now.Sub(before.last) <= conflictMemory {
		known.first = before.first
	} else {
		c.log.Warn("two nodes of one name", "node", e.name, "address", e.addr.String(), "other", e.other.String())
	}
	c.conflicts[e.name] = known
}

// disputed reports whether two nodes of that name are there. A node that
// moved looks like two of one ID until its old address is given up.
func (c *core) disputed(name string, now time.Time) bool {
	e, ok := c.conflicts[name]
	return ok && now.Sub(e.last) <= conflictMemory && (!e.sameID || e.last.Sub(e.first) >= ghostLife)
}

// doubled reports whether another node has this one's name or ID.
func (c *core) doubled(now time.Time) bool {
	return c.disputed(c.node, now) || c.cloned(now) != ""
}

// cloned names where this node's ID was seen beside itself; "" if nowhere.
func (c *core) cloned(now time.Time) string {
	for name, m := range c.members {
		if m.up && m.meta.id == c.identity.ID && m.meta.boot != c.boot {
			return fmt.Sprintf("%s at %s", name, m.addr.Addr())
		}
	}
	if e := c.conflicts[c.node]; e.sameID && c.disputed(c.node, now) {
		return e.other.Addr().String()
	}
	recent := slices.DeleteFunc(slices.Clone(c.outran), func(t time.Time) bool { return now.Sub(t) > outrunWindow })
	if len(recent) >= outrunLimit {
		return "another machine"
	}
	return ""
}

// frozen reports whether this node announces nothing new: it is a clone, or
// an older node of its name is alive.
func (c *core) frozen(now time.Time) bool {
	if c.cloned(now) != "" {
		return true
	}
	return c.disputed(c.node, now) && c.conflicts[c.node].meta.birth < c.identity.Birth
}

func (c *core) onDial(e evDial) {
	c.dialed[e.addr] = true
	for name, m := range c.members {
		if m.addr == e.addr {
			// A refusal comes from a host that is there, and so does whatever
			// a gossip of another kind answers.
			m.silent = e.err != nil && !strings.Contains(e.err.Error(), "connection refused")
			if m.silent && !m.up {
				c.log.Debug("peer's host does not answer", "node", name, "error", e.err)
			}
		}
	}
}

func (c *core) onNetwork(e evNetwork) {
	if e.waiting != c.network.waiting && e.waiting != "" {
		c.log.Info("gossip waits", "for", e.waiting)
	}
	if e.waiting != "" {
		for _, m := range c.members {
			if m.up && m.stale.IsZero() {
				m.stale = c.now()
			}
		}
	}
	c.network = e
}

// downStale gives up members that did not come back after gossip was started
// anew.
func (c *core) downStale(now time.Time) {
	for name, m := range c.members {
		if !m.stale.IsZero() && now.Sub(m.stale) >= c.timing.GiveUp {
			c.onMember(evMember{name, m.addr, m.meta, false})
		}
	}
}

func (c *core) onSettings(s Settings) {
	c.settings, c.configured = s, true
	c.byName = map[string]*RosterNode{}
	for i := range s.Roster {
		c.byName[s.Roster[i].Name] = &s.Roster[i]
	}
	now := c.now()
	c.changed = now
	var names []string
	for _, n := range s.Roster {
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		clear(c.departed)
	} else {
		for _, name := range c.roster {
			if name != c.node && !slices.Contains(names, name) {
				c.departed[name] = true
				c.log.Info("peer gone: it left the roster", "node", name)
			}
		}
		for _, name := range names {
			delete(c.departed, name)
		}
	}
	if !slices.Equal(c.roster, names) {
		c.roster, c.unsaved = names, true
	}
	c.buryDeparted(now)
}

// buryDeparted voids the claims of nodes that were in the roster and left
// it. A node that this node's documents never named is not buried: they may
// be older than those of others.
func (c *core) buryDeparted(now time.Time) {
	if len(c.departed) == 0 {
		return
	}
	for _, o := range c.ledger.standing() {
		if c.departed[o.node] {
			c.buryNode(o.node, c.ledger.entries[recordKey{o.node, o.id}].latest(), now)
		}
	}
}

func (c *core) buryNode(name string, at Stamp, now time.Time) {
	t := Tombstone{name, at}
	if c.bury(t, now) {
		c.relay(encode(kindBury, t))
	}
}

// expire voids the claims of nodes that were silent for too long, where no
// roster says who is a member, and forgets what nobody needs any more.
func (c *core) expire(now time.Time) {
	if now.Sub(c.swept) < time.Minute {
		return
	}
	c.swept = now
	for key, e := range c.ledger.entries {
		m := c.members[key.node]
		if key.node == c.node || m != nil && m.up {
			continue
		}
		silent := now.Sub(e.Stamp.Time())
		if len(c.settings.Roster) == 0 && c.configured && c.exchanged && c.settings.Retention > 0 && silent > c.settings.Retention &&
			c.ledger.tombs[key.node] < e.latest() {
			c.log.Info("peer gone: silent for longer than the retention", "node", key.node)
			c.buryNode(key.node, e.latest(), now)
		}
	}
	for key, e := range c.ledger.entries {
		if key.node != c.node && c.forgettable(e, now) {
			c.records.remove(key)
			c.ledger.forget(key)
			c.unsaved = true
		}
	}
}

// forgetAfter is how old an entry without a standing claim is when it is
// forgotten.
const forgetAfter = 48 * time.Hour

// forgettable reports whether nobody needs the entry: its node is silent, is
// no member as far as this node knows, and owns nothing.
func (c *core) forgettable(e Entry, now time.Time) bool {
	if m := c.members[e.Node]; m != nil && m.up || now.Sub(e.latest().Time()) < forgetAfter {
		return false
	}
	owns := slices.ContainsFunc(e.Claims, func(claim Claim) bool { return !c.ledger.buried(e.Node, claim) })
	named := c.byName[e.Node] != nil || !c.configured
	// A successor is needed as long as its predecessor is known.
	supersedes := func(o Entry) bool { return e.supersedes(o) }
	return !owns && !named && !slices.ContainsFunc(slices.Collect(maps.Values(c.ledger.entries)), supersedes)
}

// release voids the claims of a node or of a subnet.
func (c *core) release(what string) error {
	now := c.now()
	if p, err := netip.ParsePrefix(what); err == nil {
		what = p.Masked().String()
	}
	found := slices.ContainsFunc(c.ledger.standing(), func(o claimed) bool { return o.node == what || o.Prefix.String() == what })
	if !found {
		return fmt.Errorf("release %s: no node of that name, or no subnet, is claimed", what)
	}
	t := Tombstone{what, c.clock.next(now)}
	c.bury(t, now)
	if err := c.saveLedger(); err != nil {
		return fmt.Errorf("release %s: %w", what, err)
	}
	c.relay(encode(kindBury, t))
	c.log.Info("claims released", "what", what)
	return nil
}
