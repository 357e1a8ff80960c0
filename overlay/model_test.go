package overlay

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// The pure model: a few nodes with the real ledger, clock and claimer, and a
// simulated world around them in which anything may happen at any time.

// modelNode is one machine.
type modelNode struct {
	name       string
	skew       time.Duration
	clock      clock
	ledger     *ledger
	claimer    claimer
	generation uint64
	version    uint64
	boot       string
	proposal   uint64
	answered   map[string]uint64
	pods       map[netip.Prefix]bool
	up         bool
	group      int // nodes of different groups do not hear each other
	disk       modelDisk
}

// modelDisk survives a crash. Claims and generation are written before they
// are announced; the ledger whenever.
type modelDisk struct {
	id         string
	birth      Stamp
	generation uint64
	claims     []ClaimStatus
	replaces   []string
	ledger     *ledger
}

type letter struct {
	from, to *modelNode
	entries  []Entry
	tombs    []Tombstone
}

// released is a claim that a release voided.
type released struct {
	node   string
	prefix netip.Prefix
	epoch  Stamp
	by     *modelNode
	id     string // of the releaser: a reinstalled one has forgotten
}

type world struct {
	rng      *rand.Rand
	order    order
	now      time.Time
	nodes    []*modelNode
	post     []letter
	released []released
	settings Settings
	serial   int
	reached  map[string]int // how often something interesting happened
}

func newWorld(seed uint64, by order) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), order: by, reached: map[string]int{}, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	w.settings = Settings{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/22")}, SubnetLengthIPv4: 24, NeedsClaim: true}
	if w.rng.IntN(4) == 0 {
		w.settings.SubnetLengthIPv4 = 25
	}
	for i := range 2 + w.rng.IntN(4) {
		n := &modelNode{name: nodeName(i + 1)}
		if w.rng.IntN(2) == 0 {
			n.skew = time.Duration(w.rng.Int64N(int64(2*time.Hour))) - time.Hour
		}
		n.disk = modelDisk{id: w.id(), ledger: newLedger()}
		w.nodes = append(w.nodes, n)
		w.boot(n)
	}
	return w
}

func (w *world) id() string {
	w.serial++
	return fmt.Sprintf("%016x%016x", w.rng.Uint64(), w.serial)
}

// boot starts a node from its disk.
func (w *world) boot(n *modelNode) {
	n.ledger = newLedger()
	n.ledger.merge(n.disk.ledger)
	n.clock = clock{}
	n.clock.observe(n.ledger.latest())
	if n.disk.birth == 0 {
		n.disk.birth = n.clock.next(w.time(n))
	}
	n.disk.generation++
	n.generation, n.version, n.proposal = n.disk.generation, 0, 0
	n.boot = fmt.Sprint(w.rng.Uint32())
	n.answered, n.pods, n.up = map[string]uint64{}, map[netip.Prefix]bool{}, true
	n.claimer = claimer{node: n.name, id: n.disk.id, birth: n.disk.birth, claims: slices.Clone(n.disk.claims), replaces: n.disk.replaces, proposed: w.time(n)}
	for _, own := range n.claimer.claims {
		n.clock.observe(own.Epoch)
	}
	w.publish(n)
}

func (w *world) time(n *modelNode) time.Time { return w.now.Add(n.skew) }

func (w *world) publish(n *modelNode) {
	n.version++
	n.ledger.put(Entry{
		Node: n.name, ID: n.claimer.id, Birth: n.claimer.birth, Generation: n.generation, Version: n.version, Boot: n.boot,
		Stamp: n.clock.next(w.time(n)), Claims: n.claimer.announced(), Replaces: slices.Clone(n.claimer.replaces),
	})
}

func (w *world) heard(a, b *modelNode) bool { return a != b && a.up && b.up && a.group == b.group }

// step lets a node decide about its claims.
func (w *world) step(n *modelNode) {
	f := facts{
		now: w.time(n), settings: w.settings, ledger: n.ledger, order: w.order, confirmAfter: 2 * time.Second,
		answered: func(name string) bool { return n.answered[name] >= n.proposal },
		inUse:    func(p netip.Prefix) bool { return n.pods[p] },
	}
	twin := false
	for _, o := range w.nodes {
		if w.heard(n, o) {
			f.alive = append(f.alive, o.name)
			twin = twin || o.name == n.name
		}
	}
	f.open = len(f.alive) > 0 && !twin
	before := slices.Clone(n.claimer.claims)
	if !n.claimer.step(f, &n.clock) {
		return
	}
	w.note(n, before)
	n.disk.claims, n.disk.replaces, n.disk.birth = slices.Clone(n.claimer.claims), n.claimer.replaces, n.claimer.birth
	w.publish(n)
	if n.claimer.proposed.Equal(f.now) {
		n.proposal = n.version
	}
}

// note counts what a step led to.
func (w *world) note(n *modelNode, before []ClaimStatus) {
	for _, own := range n.claimer.claims {
		w.reached[string(own.Stage)]++
		if own.Stage == Confirmed && w.rng.IntN(2) == 0 {
			n.pods[own.Prefix] = true
		}
	}
	if len(n.claimer.claims) < len(before) {
		w.reached["dropped"]++
	}
	if len(n.claimer.replaces) > 0 {
		w.reached["took over"]++
	}
	if len(n.ledger.winners(nil, w.order)) < len(n.ledger.standing()) {
		w.reached["contested"]++
	}
}

func (w *world) take(n *modelNode, entries []Entry, tombs []Tombstone) {
	for _, e := range entries {
		n.clock.observe(e.latest())
		n.ledger.put(e)
	}
	for _, t := range tombs {
		n.clock.observe(t.Clock)
		n.ledger.bury(t)
	}
}

func everything(l *ledger) ([]Entry, []Tombstone) {
	var out []Entry
	for _, key := range l.arrived {
		out = append(out, l.entries[key])
	}
	return out, l.tombstones()
}

// exchange is a push/pull. Right after it the two must agree.
func (w *world) exchange(a, b *modelNode) error {
	ea, ta := everything(a.ledger)
	eb, tb := everything(b.ledger)
	w.take(a, eb, tb)
	w.take(b, ea, ta)
	a.answered[b.name], b.answered[a.name] = a.version, b.version
	return w.agree(a, b)
}

func (w *world) agree(a, b *modelNode) error {
	oa, ob := a.ledger.owners(nil, w.order), b.ledger.owners(nil, w.order)
	if !slices.Equal(oa, ob) {
		return fmt.Errorf("%s and %s exchanged state and disagree: %v, %v", a.name, b.name, oa, ob)
	}
	if da, db := a.ledger.digest(), b.ledger.digest(); da != db {
		return fmt.Errorf("%s and %s exchanged state and have digests %s and %s", a.name, b.name, da, db)
	}
	for i, o := range oa {
		for _, p := range oa[i+1:] {
			if o.Prefix.Overlaps(p.Prefix) {
				return fmt.Errorf("%s routes %v and %v", a.name, o, p)
			}
		}
	}
	return nil
}

// release voids claims at a node, and remembers which.
func (w *world) release(n *modelNode) {
	standing := n.ledger.standing()
	if len(standing) == 0 {
		return
	}
	victim := standing[w.rng.IntN(len(standing))]
	what := victim.node
	if w.rng.IntN(2) == 0 {
		what = victim.Prefix.String()
	}
	for _, o := range standing {
		if o.node == what || o.Prefix.String() == what {
			w.released = append(w.released, released{o.node, o.Prefix, o.Epoch, n, n.disk.id})
		}
	}
	n.ledger.bury(Tombstone{what, n.clock.next(w.time(n))})
	w.save(n)
}

func (w *world) save(n *modelNode) {
	n.disk.ledger = newLedger()
	n.disk.ledger.merge(n.ledger)
}

// clone copies a machine with its disk. Under another name the copy gets an
// ID of its own, as Open does; under the same it does not notice.
func (w *world) clone(n *modelNode) {
	if len(w.nodes) > 6 {
		return
	}
	copied := &modelNode{name: n.name, skew: n.skew, group: n.group, disk: n.disk}
	if w.rng.IntN(3) > 0 {
		copied.name = nodeName(len(w.nodes) + 1)
		copied.disk = modelDisk{id: w.id(), ledger: n.disk.ledger}
	}
	w.nodes = append(w.nodes, copied)
	w.boot(copied)
}

// happen lets one random thing happen.
func (w *world) happen() error {
	a, b := w.nodes[w.rng.IntN(len(w.nodes))], w.nodes[w.rng.IntN(len(w.nodes))]
	switch k := w.rng.IntN(100); {
	case k < 30:
		if a.up {
			w.step(a)
		}
	case k < 48:
		if w.heard(a, b) {
			return w.exchange(a, b)
		}
	case k < 55:
		entries, tombs := everything(a.ledger)
		if a.up && len(entries) > 0 {
			w.post = append(w.post, letter{a, b, entries[w.rng.IntN(len(entries)):], tombs})
		}
	case k < 70:
		w.deliver()
	case k < 82:
		w.now = w.now.Add(time.Duration(w.rng.Int64N(5)) * time.Second)
	case k < 85:
		for _, n := range w.nodes {
			n.group = w.rng.IntN(2)
		}
	case k < 88:
		for _, n := range w.nodes {
			n.group = 0
		}
	case k < 93:
		w.restart(a)
	case k < 95:
		w.release(a)
	case k < 96:
		w.clone(a)
	case k < 98:
		w.save(a)
	default:
		for _, own := range a.claimer.claims {
			if own.Stage == Confirmed {
				a.pods[own.Prefix] = !a.pods[own.Prefix]
			}
		}
	}
	return nil
}

// restart stops a node, or starts it again: from its disk, or with a new one.
func (w *world) restart(n *modelNode) {
	n.up = !n.up
	if !n.up && w.rng.IntN(2) == 0 {
		return // for a while
	}
	if w.rng.IntN(3) == 0 {
		n.disk = modelDisk{id: w.id(), ledger: newLedger()}
	}
	w.boot(n)
}

// deliver hands over a letter: in any order, or again later, or never.
func (w *world) deliver() {
	if len(w.post) == 0 {
		return
	}
	i := w.rng.IntN(len(w.post))
	l := w.post[i]
	fate := w.rng.IntN(4)
	if fate > 0 && w.heard(l.from, l.to) {
		w.take(l.to, l.entries, l.tombs)
	}
	if fate < 3 {
		w.post = slices.Delete(w.post, i, i+1)
	}
}

// run lets things happen, then heals everything and checks the end.
func (w *world) run() error {
	for range 80 {
		if err := w.happen(); err != nil {
			return err
		}
	}
	for _, n := range w.nodes {
		n.group = 0
		if !n.up {
			w.boot(n)
		}
	}
	for range 2 {
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if a == b {
					continue
				}
				if err := w.exchange(a, b); err != nil {
					return err
				}
			}
		}
	}
	for _, r := range w.released {
		if r.by.disk.id != r.id {
			continue // reinstalled since; nobody else may have heard of the release
		}
		for _, n := range w.nodes {
			for _, o := range n.ledger.winners(nil, w.order) {
				if o.node == r.node && o.Prefix == r.prefix && o.Epoch == r.epoch {
					return fmt.Errorf("%s knows a claim again that was released: %s of %s", n.name, r.prefix, r.node)
				}
			}
		}
	}
	return nil
}
