package overlay

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"
)

// sender is how the core speaks to others. None of its methods blocks.
type sender interface {
	gossip(message []byte)                               // to everybody, best effort
	send(name string, to netip.AddrPort, message []byte) // to one, over a stream
	answersUDP(name string) bool                         // lately
}

// member is a node as memberlist sees it.
type member struct {
	addr  netip.AddrPort
	meta  meta
	up    bool
	since time.Time // of up
	// stale says that gossip was started anew and the member has not been
	// heard since; it is dialled, and down if it does not answer.
	stale time.Time
	// heard is when it answered a probe over UDP or sent a message last.
	heard time.Time
	// silent says that its host did not even refuse a connection.
	silent bool
}

// core is the state machine of gossip: events in, messages and files out.
// One goroutine calls it.
type core struct {
	node   string
	opts   Options
	timing Timing
	log    *slog.Logger
	out    sender
	count  func(reason string)

	clock      clock
	identity   identityFile
	boot       string
	generation uint64
	claimer    claimer

	ledger  *ledger
	digest  string    // of the ledger
	changed time.Time // when the digest changed last
	told    string    // digest in the published head
	records recordSet
	self    Record // as last published
	stash   stash
	gaps    map[recordKey]time.Time // when the whole record is asked for (again)

	settings     Settings
	byName       map[string]*RosterNode
	configured   bool
	announcement Announcement
	roster       []string // last seen
	departed     map[string]bool

	members   map[string]*member
	wasFailed map[string]bool // peers that were failed when the daemon stopped
	heardOf   bool            // somebody else, ever
	conflicts map[string]conflict
	outran    []time.Time // when this node's own record was found ahead of it
	accused   uint64      // how often others thought this node silent

	network   evNetwork
	dialed    map[netip.AddrPort]bool
	started   time.Time
	exchanged bool
	gaveUp    bool
	awaiting  map[string]time.Time // peers asked for what this node lacks
	ready     time.Time            // since when nothing but quiet is missing for a claim
	opened    bool                 // see open

	deaf map[string]bool // alive peers that UDP does not reach

	proposal uint64               // version that announced the newest proposal
	answered map[string]uint64    // version that a peer has answered
	asked    map[string]time.Time // when a peer was asked last

	unsaved    bool // ledger
	unsavedPod bool // records
	saved      time.Time
	diskError  error
	swept      time.Time // see expire
	stopping   bool
}

// newCore makes a core of what is on disk.
func newCore(o Options, d disk) *core {
	c := &core{
		node: o.Node, opts: o, timing: o.Timing, log: o.Log, count: func(string) {},
		identity: d.identity, generation: d.generation,
		ledger: newLedger(), gaps: map[recordKey]time.Time{},
		departed: map[string]bool{}, members: map[string]*member{}, wasFailed: map[string]bool{},
		heardOf: d.ledger.Peers, conflicts: map[string]conflict{}, deaf: map[string]bool{},
		dialed: map[netip.AddrPort]bool{}, awaiting: map[string]time.Time{},
		answered: map[string]uint64{}, asked: map[string]time.Time{}, roster: d.ledger.Roster,
		network: evNetwork{waiting: "gossip has not started"},
	}
	c.claimer = claimer{node: o.Node, id: d.identity.ID, birth: d.identity.Birth, claims: d.claims.Claims, replaces: d.claims.Replaces}
	if d.claims.ID != d.identity.ID {
		c.claimer.claims, c.claimer.replaces = nil, nil
	}
	c.load(d.ledger)
	c.digest = c.ledger.digest()
	return c
}

func (c *core) load(f ledgerFile) {
	for _, e := range f.Entries {
		if e.check() == nil {
			c.ledger.put(e)
		}
	}
	for _, t := range f.Tombstones {
		c.ledger.bury(t)
	}
	for _, r := range f.Records {
		if r.check() == nil {
			c.records.put(r)
			c.ledger.put(r.Entry)
		}
	}
	for _, name := range f.Departed {
		c.departed[name] = true
	}
	for _, name := range f.Failed {
		c.wasFailed[name] = true
	}
	c.clock.observe(c.ledger.latest())
	for _, own := range c.claimer.claims {
		c.clock.observe(own.Epoch)
	}
	// Until it is told better, this node goes on saying what it said last.
	if own, ok := c.records.get(recordKey{c.node, c.identity.ID}); ok {
		c.generation = max(c.generation, own.Generation)
		c.announcement = Announcement{
			Underlay: own.Underlay, Transport: own.Transport, NeedsDaemon: own.Backend == "udp" || own.Backend == "wireguard", MTU: own.MTU, Health: own.Health,
			Revision: own.Revision, Digest: own.Digest, Rejected: own.Rejected, Pods: own.Pods,
		}
	}
}

// nextGeneration starts a generation later than the given one.
func (c *core) nextGeneration(after uint64) error {
	c.generation = max(after, c.generation) + 1
	c.self = Record{}
	c.answered, c.asked, c.proposal = map[string]uint64{}, map[string]time.Time{}, 1
	// The claims on disk may be newer than the last record there.
	c.ledger.put(Entry{
		Node: c.node, ID: c.identity.ID, Birth: c.claimer.birth, Generation: c.generation, Boot: c.boot,
		Stamp: c.clock.last, Claims: c.claimer.announced(), Replaces: c.claimer.replaces,
	})
	c.digest = c.ledger.digest()
	return writeJSON(c.path(fileGeneration), generationFile{stateVersion, c.generation})
}

func (c *core) path(name string) string { return filepath.Join(c.opts.StateDir, name) }

func (c *core) meta() meta {
	return meta{c.identity.ID, c.identity.Birth, c.generation, c.boot}
}

func (c *core) now() time.Time { return c.opts.Now() }

func (c *core) start() {
	c.started = c.now()
	c.claimer.proposed = c.started
}

func (c *core) inRoster(name string) bool { return len(c.byName) == 0 || c.byName[name] != nil }

// handle takes in one event.
func (c *core) handle(event any) {
	switch e := event.(type) {
	case evMessage:
		c.onMessage(e)
	case evMember:
		c.onMember(e)
	case evVersion:
		c.onVersion(e)
	case evConflict:
		c.onConflict(e)
	case evDial:
		c.onDial(e)
	case evNetwork:
		c.onNetwork(e)
	case evSettings:
		c.onSettings(Settings(e))
	case evAnnouncement:
		c.announcement = Announcement(e)
	case evAccused:
		c.accused++
	case evRelease:
		e.reply <- c.release(e.what)
	}
}

// The waits between two rounds of the loop when nothing happens.
const (
	busyWait = 100 * time.Millisecond
	joinWait = 500 * time.Millisecond
	idleWait = 5 * time.Second
)

// settle does what follows from the events so far and gives how long to wait
// for more.
func (c *core) settle() time.Duration {
	now := c.now()
	if !c.gaveUp && now.Sub(c.started) >= c.timing.GiveUp {
		c.gaveUp = true
	}
	c.downStale(now)
	c.findDeaf(now)
	c.expire(now)
	c.stepClaims(now)
	c.publish(now)
	c.askForAnswers(now)
	c.fillGaps(now)
	c.save(now)
	switch {
	case c.claimer.has(Proposed), len(c.gaps) > 0, len(c.awaiting) > 0, c.told != c.digest, !c.ready.IsZero() && !c.opened:
		return busyWait
	case !c.joined(), c.unsaved, c.early(now):
		return joinWait
	}
	return idleWait
}

// joined reports whether what is not known now may be taken as not there.
func (c *core) joined() bool {
	return c.exchanged || c.gaveUp || c.configured && c.mayStartAlone()
}

// mayStartAlone reports whether this node need not meet anybody before it
// claims.
func (c *core) mayStartAlone() bool {
	return c.settings.lonely(c.node) || c.opts.Bootstrap && !c.heardOf
}

// blocked says why no new claim may be made; "" if one may.
func (c *core) blocked(now time.Time) string {
	switch {
	case !c.configured:
		return "the documents"
	case !c.inRoster(c.node):
		return fmt.Sprintf("a Node document: the roster has no %s", c.node)
	case now.Before(c.opts.BuildTime):
		return fmt.Sprintf("the clock: %s is before this program was built", now.UTC().Format(time.DateOnly))
	case c.settings.lonely(c.node):
		return ""
	case c.network.waiting != "":
		return c.network.waiting
	case c.doubled(now):
		return "a name of its own: another node has this one's"
	case !c.exchanged && !c.mayStartAlone():
		return "a peer: nobody has answered yet"
	}
	return ""
}

// stepClaims lets the claimer look at everything again. What it decides is
// on disk before anybody hears of it; if that fails it is as if nothing had
// been decided.
func (c *core) stepClaims(now time.Time) {
	if !c.configured {
		return
	}
	before := c.claimer
	before.claims, before.replaces = slices.Clone(before.claims), slices.Clone(before.replaces)
	clock := c.clock
	if !c.claimer.step(c.facts(now), &c.clock) {
		return
	}
	c.diskError = c.saveClaims()
	if c.diskError != nil {
		c.claimer, c.clock = before, clock
		return
	}
	for _, own := range c.claimer.claims {
		if !slices.Contains(before.claims, own) {
			c.log.Info("claim", "subnet", own.Prefix.String(), "stage", string(own.Stage), "epoch", own.Epoch.String())
		}
	}
	for _, own := range before.claims {
		gone := func(o ClaimStatus) bool { return o.Prefix == own.Prefix }
		if !slices.ContainsFunc(c.claimer.claims, gone) {
			c.log.Info("claim dropped", "subnet", own.Prefix.String(), "was", string(own.Stage))
		}
	}
	c.publishClaims(now)
}

func (c *core) facts(now time.Time) facts {
	return facts{
		now: now, settings: c.settings, ledger: c.ledger, order: byEpoch,
		open: c.open(now), alone: c.mayStartAlone(),
		alive: c.aliveNames(),
		answered: func(name string) bool {
			return c.answered[name] >= c.proposal
		},
		inUse:        c.announcement.usesSubnet,
		confirmAfter: c.timing.Confirm,
	}
}

// open reports whether new claims may be made now: nothing is in the way,
// every address was tried once, and nothing new was heard for a while.
func (c *core) open(now time.Time) bool {
	c.opened = false
	if c.blocked(now) != "" {
		c.ready = time.Time{}
		return false
	}
	if c.ready.IsZero() {
		c.ready = now
	}
	untried := func(t target) bool { return !c.dialed[t.addr] }
	c.opened = now.Sub(c.ready) >= c.timing.QuietLimit ||
		now.Sub(c.ready) >= c.timing.Quiet && now.Sub(c.changed) >= c.timing.Quiet && !slices.ContainsFunc(c.targets(), untried)
	return c.opened
}

func (c *core) aliveNames() []string {
	var out []string
	for name, m := range c.members {
		if m.up && c.inRoster(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
