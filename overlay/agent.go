// Package overlay is the membership of a cluster: which nodes there are, who
// is alive, who owns which subnet, how each is reached and which pods it
// runs. Nodes tell each other by gossip (hashicorp/memberlist); there is no
// leader and no store.
//
// Each node publishes one record that only it writes. What the records claim
// is resolved by the ledger, a pure function that gives the same owners at
// every node. Everything that arrives is untrusted: what is not understood
// or exceeds a limit is counted and dropped.
//
// One goroutine (Agent.Run) owns all state. memberlist's callbacks put what
// they hear into an inbox and return.
//
// A daemon that is stopped in good order marks its record "stopping" if its
// data plane goes on without it (every backend but udp). Its peers count it
// as alive for Timing.StopGrace longer, unless its host no longer answers at
// all: a refused connection is an answer, silence is not. A daemon that is
// killed, or that leaves a udp tunnel behind without its process, is failed
// as soon as memberlist notices. A restart within two seconds is not noticed
// at all.
package overlay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Options say who this node is. They hold for the life of an Agent, but for
// what Rebind changes.
type Options struct {
	Cluster  string // name of the cluster; nodes of another are not heard
	Node     string // name of this node
	StateDir string // must exist
	Binding
	// KeyFile holds the keys, see ReadKeys. It need not exist yet: the agent
	// waits for it and reads it again when it changes.
	KeyFile string
	// Bootstrap says that this is the first node: it may claim without having
	// met anybody. It counts only while nobody else was ever heard of.
	Bootstrap bool
	// Join are addresses to join through, beside those of the roster.
	Join []netip.AddrPort
	// BuildTime is when this binary was built. A clock before it is wrong, and
	// no claim is made.
	BuildTime time.Time
	// MachineID is the path of the machine-id; "": /etc/machine-id.
	MachineID string
	// Transport makes memberlist's transport for an address; nil: UDP and TCP.
	Transport func(bind netip.AddrPort) (memberlist.Transport, error)
	Log       *slog.Logger
	Timing    Timing           // zero fields get their defaults
	Now       func() time.Time // nil: time.Now
}

// Timing holds the intervals of an agent.
type Timing struct {
	Confirm    time.Duration // a claim stands uncontested at least this long; 2 s
	Quiet      time.Duration // nothing new is heard for this long before a claim is made; two gossip rounds
	QuietLimit time.Duration // and this long is waited at most; 5 s
	GiveUp     time.Duration // without any answer gossip is given up on for now; 10 s
	Rejoin     time.Duration // between attempts to reach an absent node; 2 s
	StopGrace  time.Duration // how long a stopping peer counts as alive; 60 s
	// TCPOnly is how long an alive peer may leave probes over UDP unanswered,
	// plus a fifth for each member, since these are probed in turn; 10 s.
	TCPOnly time.Duration
}

func (t Timing) withDefaults(profile string) Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	quiet := 400 * time.Millisecond
	if profile == profileWAN {
		quiet = time.Second
	}
	set(&t.Confirm, 2*time.Second)
	set(&t.Quiet, quiet)
	set(&t.QuietLimit, 5*time.Second)
	set(&t.GiveUp, 10*time.Second)
	set(&t.Rejoin, 2*time.Second)
	set(&t.StopGrace, time.Minute)
	set(&t.TCPOnly, 10*time.Second)
	return t
}

// tcpOnly gives how long a peer of a cluster of so many may not answer over
// UDP.
func (t Timing) tcpOnly(members int) time.Duration {
	return t.TCPOnly + time.Duration(members)*t.TCPOnly/5
}

// Agent is this node's end of gossip.
type Agent struct {
	options Options
	core    *core
	network *network
	inbox   *inbox
	changes chan struct{} // size one

	mu           sync.Mutex
	settings     *Settings
	announcement *Announcement

	running  atomic.Bool
	snapshot atomic.Pointer[Snapshot]
}

// Open reads the state directory, makes a node ID on the first start, and
// writes a new generation. It starts nothing.
func Open(o Options) (*Agent, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MachineID == "" {
		o.MachineID = "/etc/machine-id"
	}
	if o.Node == "" || len(o.Node) > maxName || !plain(o.Node) {
		return nil, fmt.Errorf("node name %q: letters, digits, dots and dashes are allowed", o.Node)
	}
	o.Timing = o.Timing.withDefaults(o.Profile)
	c, err := openCore(o)
	if err != nil {
		return nil, fmt.Errorf("gossip state: %w", err)
	}
	a := &Agent{options: o, core: c, inbox: newInbox(), changes: make(chan struct{}, 1)}
	a.network = newNetwork(o, a.inbox, c.meta())
	c.out = a.network
	c.count = a.inbox.count
	a.store()
	return a, nil
}

// ReadState gives the snapshot that the state directory of a stopped daemon
// holds: its own claims, and the peers as they were last seen.
func ReadState(dir string, s Settings) (Snapshot, error) {
	d, err := readDisk(dir)
	if err != nil {
		return Snapshot{}, fmt.Errorf("gossip state: %w", err)
	}
	c := newCore(Options{Node: d.identity.Node, StateDir: dir, Now: time.Now, Log: slog.New(slog.DiscardHandler)}, d)
	c.settings, c.configured = s, true
	return c.snapshot(), nil
}

// Run takes part in gossip until the context ends. It is called once.
func (a *Agent) Run(ctx context.Context) error {
	if !a.running.CompareAndSwap(false, true) {
		return errors.New("gossip: run twice")
	}
	a.core.start()
	wait := a.round() // what was configured so far holds before anybody is let in
	var wg sync.WaitGroup
	netCtx, stop := context.WithCancel(context.Background())
	wg.Go(func() { a.network.run(netCtx) })
	defer wg.Wait()
	defer stop()
	a.loop(ctx, wait)
	return nil
}

// loop handles what comes until the context ends, then says goodbye.
func (a *Agent) loop(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			a.core.stop()
			a.network.flush(goodbye)
			return
		case <-a.inbox.kick:
			if since := time.Since(last); since < coalesce {
				timer.Reset(coalesce - since)
				continue
			}
		case <-timer.C:
		}
		timer.Reset(a.round())
		last = time.Now()
	}
}

// round handles what has come and gives how long to wait for more.
func (a *Agent) round() time.Duration {
	for _, event := range a.inbox.take() {
		a.core.handle(event)
	}
	wait := a.core.settle()
	a.network.publish(a.core.view())
	a.store()
	return wait
}

// coalesce is the least time between two rounds: a round costs the same
// whether it handles one message or a hundred.
const coalesce = 20 * time.Millisecond

// goodbye is how long a stopping daemon takes at most to tell its peers.
const goodbye = time.Second

// Configure says what the documents say now. It is cheap if nothing changed.
func (a *Agent) Configure(s Settings) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.settings != nil && a.settings.equal(s) {
		return
	}
	a.settings = &s
	a.inbox.put(evSettings(s))
}

// Announce says what this node says of itself now. It is cheap if nothing
// changed.
func (a *Agent) Announce(n Announcement) {
	n = n.normal()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.announcement != nil && a.announcement.equal(n) {
		return
	}
	a.announcement = &n
	a.inbox.put(evAnnouncement(n))
}

// Rebind changes where gossip listens and how. The data plane is not
// touched; gossip is started anew if anything differs.
func (a *Agent) Rebind(b Binding) {
	a.network.rebind(b)
}

// Release voids the claims of a node, or all claims of a subnet, as they are
// known now; the owner, if it is alive, may claim again. It returns when
// that is on disk. Without such a claim it is an error.
func (a *Agent) Release(what string) error {
	if !a.running.Load() {
		return fmt.Errorf("release %s: gossip is not running", what)
	}
	reply := make(chan error, 1)
	a.inbox.put(evRelease{what, reply})
	select {
	case err := <-reply:
		return err
	case <-time.After(releasePatience):
		return fmt.Errorf("release %s: no answer within %v", what, releasePatience)
	}
}

// releasePatience is how long Release waits for the loop, which answers at
// once unless the disk hangs.
const releasePatience = 5 * time.Second

// Snapshot gives what is known now.
func (a *Agent) Snapshot() Snapshot {
	s := *a.snapshot.Load()
	s.Counters = a.inbox.counts()
	s.Peers = slices.Clone(s.Peers)
	for i := range s.Peers {
		if at := a.network.pings.when(s.Peers[i].Name); at.After(s.Peers[i].LastSeen) {
			s.Peers[i].LastSeen = at
		}
	}
	return s
}

// Changes receives a value, at most one waiting, when the snapshot changed
// in more than LastSeen and Counters. The channel is never closed.
func (a *Agent) Changes() <-chan struct{} { return a.changes }

// store takes the core's snapshot and kicks Changes if it differs.
func (a *Agent) store() {
	s := a.core.snapshot()
	before := a.snapshot.Swap(&s)
	if before != nil && sameSnapshot(*before, s) {
		return
	}
	select {
	case a.changes <- struct{}{}:
	default:
	}
}

// openCore reads the state directory and settles who this node is.
func openCore(o Options) (*core, error) {
	d, err := readDisk(o.StateDir)
	if err != nil {
		return nil, err
	}
	machine := machineHash(o.MachineID)
	same := d.identity.Node == o.Node && (d.identity.Machine == machine || machine == "" || d.identity.Machine == "")
	if d.identity.ID == "" || !same {
		if d.identity.ID != "" {
			o.Log.Warn("state directory of another machine or node: new node ID, claims dropped",
				"was", d.identity.Node, "node", o.Node, "same-machine", d.identity.Machine == machine)
		}
		d.identity = identityFile{ID: newID(), Node: o.Node, Machine: machine}
		d.claims, d.generation = claimsFile{}, 0
	}
	c := newCore(o, d)
	c.boot = randomHex(bootLength)
	if c.identity.Birth == 0 {
		c.identity.Birth = c.clock.next(o.Now())
		c.claimer.birth = c.identity.Birth
		if err := c.saveIdentity(); err != nil {
			return nil, err
		}
	}
	if err := c.nextGeneration(c.generation); err != nil {
		return nil, err
	}
	return c, os.Chmod(filepath.Join(o.StateDir, fileGeneration), 0o600)
}
