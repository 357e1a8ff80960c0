package overlay

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// The profiles.
const profileWAN = "wan"

// view is what the core lets memberlist's callbacks and the rejoin loop see:
// values that nobody changes.
type view struct {
	settings   Settings
	generation uint64
	version    uint64
	have       []have
	tombstones []Tombstone
	targets    []target
}

// target is an address through which an absent node may be reached.
type target struct {
	name string // "" for an address of --join
	addr netip.AddrPort
}

// network owns the memberlist instance: it waits for a key and an address,
// starts it, dials absent nodes, and starts it anew when it must listen
// elsewhere.
type network struct {
	options Options
	inbox   *inbox
	meta    meta
	log     *slog.Logger
	queue   *memberlist.TransmitLimitedQueue
	members atomic.Int32 // alive, this node among them
	pings   pings

	view    atomic.Pointer[view]
	changed chan struct{} // size one: targets differ

	mu      sync.Mutex
	bind    Binding
	rebuilt chan struct{} // size one: bind differs

	jobs    chan job
	pending atomic.Int32
}

// Binding is what memberlist cannot change while it runs.
type Binding struct {
	// Address is the underlay address and the port that gossip listens on.
	Address netip.AddrPort
	// Advertise is where others reach it, through 1:1 NAT; the zero value:
	// at Address.
	Advertise netip.AddrPort
	Encrypted bool
	Profile   string // lan (default) or wan
}

// job is a message to be sent over a stream.
type job struct {
	name    string
	to      netip.AddrPort
	message []byte
}

// maxJobs is how many messages wait to be sent over streams, maxStreams how
// many streams are dialled at a time.
const (
	maxJobs    = 4096
	maxStreams = 64
)

func newNetwork(o Options, in *inbox, m meta) *network {
	n := &network{
		options: o, inbox: in, meta: m, log: o.Log, bind: o.Binding,
		changed: make(chan struct{}, 1), rebuilt: make(chan struct{}, 1), jobs: make(chan job, maxJobs),
	}
	n.queue = &memberlist.TransmitLimitedQueue{RetransmitMult: 4, NumNodes: func() int { return max(1, int(n.members.Load())) }}
	n.view.Store(&view{})
	return n
}

// publish shows the core's view; the rejoin loop starts at once if there are
// other addresses to dial.
func (n *network) publish(v *view) {
	before := n.view.Swap(v)
	if !slices.Equal(before.targets, v.targets) {
		kick(n.changed)
	}
}

func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (n *network) rebind(next Binding) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if next != n.bind {
		n.bind = next
		kick(n.rebuilt)
	}
}

func (n *network) binding() Binding {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bind
}

// maxQueue is how many gossip messages wait at most; the oldest go first,
// and who missed them asks.
const maxQueue = 4096

func (n *network) gossip(message []byte) {
	if len(message) > maxGossip {
		n.inbox.count("unsent: too big to gossip")
		return
	}
	n.queue.QueueBroadcast(broadcast(message))
	if n.queue.NumQueued() > maxQueue {
		n.queue.Prune(maxQueue)
	}
}

// broadcast is a queued message. Each is sent: a later one never makes an
// earlier one worthless, since both are steps of one record.
type broadcast []byte

func (b broadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b broadcast) Message() []byte                       { return b }
func (b broadcast) Finished()                             {}
func (b broadcast) UniqueBroadcast()                      {}

func (n *network) send(name string, to netip.AddrPort, message []byte) {
	n.pending.Add(1)
	select {
	case n.jobs <- job{name, to, message}:
	default:
		n.pending.Add(-1)
		n.inbox.count("unsent: queue full")
	}
}

// flush waits until everything is sent, but not for longer than that.
func (n *network) flush(limit time.Duration) {
	deadline := time.Now().Add(limit)
	for n.pending.Load() > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
}

func (n *network) answersUDP(name string) bool {
	return time.Since(n.pings.when(name)) < n.options.Timing.tcpOnly(int(n.members.Load()))
}

// retry is how long a failed start waits for the next try.
const retry = 2 * time.Second

// run keeps an instance of memberlist going until the context ends.
func (n *network) run(ctx context.Context) {
	keyChanges := make(chan struct{}, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	if n.options.KeyFile != "" {
		wg.Go(func() { watchFile(ctx, n.options.KeyFile, keyChanges) })
	}
	for ctx.Err() == nil {
		i, waiting, err := n.open(n.binding())
		if err != nil {
			n.inbox.put(evNetwork{waiting: waiting, problem: &Problem{waiting + ": " + err.Error(), remedyFor(n.binding(), n.options.KeyFile)}})
			select {
			case <-ctx.Done():
			case <-n.rebuilt:
			case <-keyChanges:
			case <-time.After(retry):
			}
			continue
		}
		n.inbox.put(evNetwork{gossip: i.gossip, keys: keyDigests(i.keys)})
		i.run(ctx, keyChanges)
	}
}

func remedyFor(b Binding, keyFile string) string {
	if b.Encrypted {
		return "poplin key new > " + keyFile + ", the same file on every node; chmod 0640"
	}
	return "ip address show | grep " + b.Address.Addr().String()
}

// instance is one life of memberlist.
type instance struct {
	n       *network
	bind    Binding
	list    *memberlist.Memberlist
	ring    *memberlist.Keyring // nil: not encrypted
	keys    [][]byte
	gossip  netip.AddrPort
	dialing sync.Map // netip.AddrPort: true while an attempt is under way
	streams chan struct{}
	wg      sync.WaitGroup
}

// open starts memberlist. On failure it says what is waited for.
func (n *network) open(b Binding) (i *instance, waiting string, err error) {
	i = &instance{n: n, bind: b, streams: make(chan struct{}, maxStreams)}
	if b.Encrypted {
		i.keys, err = ReadKeys(n.options.KeyFile)
		if err != nil {
			return i, "the gossip key", err
		}
		i.ring, err = memberlist.NewKeyring(i.keys, i.keys[0])
		if err != nil {
			return i, "the gossip key", err
		}
	}
	config, err := n.config(i)
	if err == nil {
		n.members.Store(0) // each instance tells of its members anew, itself first
		i.list, err = memberlist.Create(config)
	}
	if err != nil {
		return i, "the underlay address " + b.Address.String(), err
	}
	self := i.list.LocalNode()
	i.gossip = addrPort(self.Addr, self.Port)
	return i, "", nil
}

// config translates the binding for memberlist.
func (n *network) config(i *instance) (*memberlist.Config, error) {
	config := memberlist.DefaultLANConfig()
	// Failure is noticed after 2.2–3.3 s in a small cluster.
	config.ProbeInterval, config.ProbeTimeout, config.SuspicionMult = 500*time.Millisecond, 200*time.Millisecond, 3
	// Where nobody can confirm a suspicion, as between the last two nodes, it
	// would take six times as long.
	config.SuspicionMaxTimeoutMult = 2
	// A join to a silent address blocks for so long.
	config.TCPTimeout = 3 * time.Second
	if i.bind.Profile == profileWAN {
		config = memberlist.DefaultWANConfig()
		config.TCPTimeout = 10 * time.Second
	}
	config.Name, config.Label = n.options.Node, n.options.Cluster
	config.BindAddr, config.BindPort = i.bind.Address.Addr().String(), int(i.bind.Address.Port())
	config.AdvertiseAddr, config.AdvertisePort = "", config.BindPort
	if a := i.bind.Advertise; a.IsValid() {
		config.AdvertiseAddr, config.AdvertisePort = a.Addr().String(), int(a.Port())
	}
	config.DeadNodeReclaimTime = time.Second
	config.Keyring = i.ring
	config.Logger = newLogger(n.log, n.inbox.count, func() { n.inbox.put(evAccused{}) })
	d := &delegate{n}
	config.Delegate, config.Events, config.Conflict, config.Alive, config.Ping = d, d, d, d, d
	if n.options.Transport != nil {
		transport, err := n.options.Transport(i.bind.Address)
		if err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
		config.Transport = transport
	}
	return config, nil
}

// run serves until the context ends or the binding changes.
func (i *instance) run(ctx context.Context, keyChanges <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	i.wg.Go(func() { i.rejoin(ctx) })
	i.wg.Go(func() { i.sendAll(ctx) })
	for serving := true; serving; {
		select {
		case <-ctx.Done():
			serving = false
		case <-i.n.rebuilt:
			serving = i.n.binding() == i.bind
		case <-keyChanges:
			i.rekey()
		}
	}
	cancel()
	// No Leave: to peers a stopped daemon is silent, not gone.
	if err := i.list.Shutdown(); err != nil {
		i.n.log.Debug("gossip shutdown", "error", err)
	}
	i.wg.Wait()
	i.n.inbox.put(evNetwork{waiting: "gossip starts anew"})
}

// rekey reads the key file again. A bad one changes nothing.
func (i *instance) rekey() {
	if i.ring == nil {
		return
	}
	up := evNetwork{gossip: i.gossip}
	keys, err := ReadKeys(i.n.options.KeyFile)
	if err == nil && slices.EqualFunc(keys, i.keys, slices.Equal[[]byte]) {
		return
	}
	if err == nil {
		err = rotate(i.ring, keys)
	}
	if err != nil {
		up.problem = &Problem{"the key file is not used, the keys from before are: " + err.Error(), "mend " + i.n.options.KeyFile}
	} else {
		i.keys = keys
	}
	up.keys = keyDigests(i.keys)
	i.n.inbox.put(up)
}

// sendAll sends what the core asks for, each message over a stream of its own.
func (i *instance) sendAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-i.n.jobs:
			select {
			case <-ctx.Done():
				i.n.pending.Add(-1)
				return
			case i.streams <- struct{}{}:
			}
			i.wg.Go(func() {
				defer func() { <-i.streams; i.n.pending.Add(-1) }()
				to := &memberlist.Node{Name: j.name, Addr: j.to.Addr().AsSlice(), Port: j.to.Port()}
				if err := i.list.SendReliable(to, j.message); err != nil {
					i.n.log.Debug("gossip message not sent", "to", j.name, "error", err)
				}
			})
		}
	}
}
