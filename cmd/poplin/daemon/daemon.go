package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"os/user"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/overlay/probe"
	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/overlay/wg"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/announce"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/health"
	"github.com/poplin-net/poplin/reconciler/linux"
	"github.com/poplin-net/poplin/reconciler/listen"
	"github.com/poplin-net/poplin/reconciler/nft"
	"github.com/poplin-net/poplin/reconciler/tunnel"
	"github.com/poplin-net/poplin/reconciler/wireguard"
	"github.com/poplin-net/poplin/schema/source"
)

var errNoGossip = errors.New("gossip does not run yet")

// Daemon is one node.
type Daemon struct {
	o       Options
	log     *slog.Logger
	started time.Time

	documents  *documents
	watcher    *source.Watcher
	membership *membership
	addresses  *addressBook
	paths      *probe.Prober
	keys       *wg.Keys
	keyReady   string       // the public key with which the device was set up; of the loop's goroutine
	backends   *backendBook // of the loop's goroutine, as is expiry
	expiry     *time.Timer  // of the next former backend
	readiness  *readiness
	outside    outside
	resolver   *resolver
	account    account
	notify     notifier
	kept       *descriptorStore

	// accepted is closed when the first revision is there: the targets need
	// the cluster's name.
	accepted chan struct{}
	first    sync.Once

	// Set before the loop runs.
	targets  targets
	loop     atomic.Pointer[reconciler.Loop]
	compiler *compile.Compiler // of the loop's goroutine
	inputs   inputs            // of the last round
	standing map[string]bool   // namespaces of pods that stood after it
	links    *reconciler.Share // of what is observed
	heard    heardPods
	idle     chan struct{} // a round is over that left something to tidy up
}

// targets are the places where objects live.
type targets struct {
	linux     *linux.Target
	nft       *nft.Target
	tunnel    *tunnel.Target
	wireguard *wireguard.Target
}

// New reads the state directory. It starts nothing.
func New(o Options) (*Daemon, error) {
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	docs, err := newDocuments(o.Log, o.StateDir)
	if err != nil {
		return nil, err
	}
	book, err := openAddressBook(o.StateDir)
	if err != nil {
		return nil, err
	}
	backends, err := openBackendBook(o.StateDir)
	if err != nil {
		return nil, err
	}
	keys, err := wg.OpenKeys(o.StateDir)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		keys:     keys,
		paths:    probe.New(probe.Options{Log: o.Log}),
		keyReady: keys.Public(),
		backends: backends,
		o:        o, log: o.Log, started: time.Now(), documents: docs, addresses: book,
		watcher:  source.New(source.Options{Root: o.ConfigDir, Quiet: o.SourceQuiet, Mode: o.SourceMode, Log: o.Log}),
		accepted: make(chan struct{}), compiler: compile.New(), idle: make(chan struct{}, 1),
		links: reconciler.NewShare(reconciler.KindLink), heard: heardPods{},
	}
	d.membership = &membership{o: o, kick: d.kick}
	prober := health.New(health.Options{
		Enter: func(netns string, fn func() error) error { return d.targets.linux.Enter(netns, fn) }, Commands: o.ExecProbes, Log: o.Log,
	})
	d.outside = outside{announcer: announce.New(announce.Options{Log: o.Log}), listeners: listen.New(o.Log)}
	d.resolver = newResolver(o)
	d.kept = openDescriptorStore(o.Log)
	d.readiness = openReadiness(o.StateDir, len(book.pods) > 0, prober, o.Log)
	return d, nil
}

// Run runs the node until ctx ends. What it made stays: stopping the daemon
// leaves the data plane.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := api.Listen(d.o.RunDir, groupID("poplin"))
	if err != nil {
		return err
	}
	d.documents.restore()
	d.follow()
	if os.Getenv("GOMAXPROCS") == "" { // the operator's word is the last
		runtime.GOMAXPROCS(runtime.NumCPU() + udp.Tuning{Rungs: udp.AllRungs}.Threads() + 1)
	}

	var tasks sync.WaitGroup
	failures := make(chan error, 4)
	task := func(name string, run func(context.Context) error) {
		tasks.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				failures <- fmt.Errorf("%s: %w", name, err)
				cancel()
			}
		})
	}
	task("socket", func(ctx context.Context) error { return api.Serve(ctx, listener, d) })
	task("source", d.watcher.Run)
	task("documents", d.watch)
	task("tidying", d.tidy)
	task("reconciler", d.reconcile)
	task("service manager", d.notify.run)
	task("hangup", d.hangup)
	task("forged packets", d.watchForged)
	<-ctx.Done()
	tasks.Wait()
	d.membership.Close()
	d.documents.keep()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

// groupID is the number of a group, or -1.
func groupID(name string) int {
	g, err := user.LookupGroup(name)
	if err != nil {
		return -1
	}
	id, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1
	}
	return id
}

// watch hands what the source finds to the documents, and keeps a copy of
// what they follow.
func (d *Daemon) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.watcher.Changes():
		}
		s := d.watcher.Latest()
		changed := d.documents.offer(s)
		d.follow()
		if changed {
			d.kick()
		}
		if d.documents.now() == nil {
			d.notify.ready("waiting for documents: " + s.Problem)
		}
	}
}

// hangup reads everything again on SIGHUP.
func (d *Daemon) hangup(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
			if err := d.Reload(ctx); err != nil {
				return err
			}
		}
	}
}

// follow lets the reconciler start once there is a revision.
func (d *Daemon) follow() {
	if d.documents.now() != nil {
		d.first.Do(func() { close(d.accepted) })
	}
}

func (d *Daemon) kick() {
	if loop := d.loop.Load(); loop != nil {
		loop.Kick()
	}
}

// kickFor kicks for everything that a channel tells.
func (d *Daemon) kickFor(changes <-chan struct{}) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-changes:
				d.kick()
			}
		}
	}
}

// reconcile runs the loop once the first revision is there.
func (d *Daemon) reconcile(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.accepted:
	}
	if err := d.open(); err != nil {
		return err
	}
	defer d.close()
	engine := reconciler.NewEngine(d.targets.linux, d.targets.tunnel, d.targets.wireguard, d.targets.nft)
	loop := reconciler.NewLoop(engine, d.desire, d.report)
	d.loop.Store(loop)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prober := d.readiness.prober
	runs := []func(context.Context) error{d.targets.linux.Run, d.targets.nft.Run, d.paths.Run, prober.Run, d.kickFor(prober.Changes()), d.outside.announcer.Run, d.outside.listeners.Run, d.resolver.run}
	failed := make(chan error, len(runs))
	for _, run := range runs {
		tasks.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				failed <- err
				cancel()
			}
		})
	}
	err := loop.Run(ctx)
	select {
	case failure := <-failed:
		return failure
	default:
		return err
	}
}

func (d *Daemon) open() error {
	var err error
	d.targets, err = openTargets(d.o, d.documents.now().Config.Cluster.Meta.Name.Name, d.store(), false)
	if err == nil {
		d.targets.wireguard = wireguard.New(wireguard.Options{Device: compile.WireGuardDevice, Keys: d.keys, Log: d.log})
	}
	return err
}

// store is where the tunnel's descriptors outlive the daemon.
func (d *Daemon) store() tunnel.Store {
	if d.o.Once { // there is no tunnel
		return nil
	}
	return d.kept
}

// openTargets opens the targets of a cluster's node. store may be nil.
func openTargets(o Options, cluster string, store tunnel.Store, readOnly bool) (targets, error) {
	var t targets
	rungs, err := udp.ParseRungs(o.Offloads)
	if err != nil {
		return t, fmt.Errorf("overlay offloads: %w", err)
	}
	t.linux, err = linux.New(linux.Options{
		Cluster: cluster, StateDir: o.StateDir, MountNS: o.MountNS, ReadOnly: readOnly, Log: o.Log,
	})
	if err != nil {
		return t, err
	}
	t.nft, err = nft.New(nft.Options{Log: o.Log})
	if err != nil {
		return t, errors.Join(err, t.linux.Close())
	}
	t.tunnel = tunnel.New(tunnel.Options{
		OpenDevice: udp.OpenDevice, Listen: udp.Listen, Store: store, Tuning: udp.Tuning{Rungs: rungs}, Log: o.Log,
	})
	return t, nil
}

func (d *Daemon) close() {
	if err := d.targets.close(); err != nil {
		d.log.Error("closing", "error", err)
	}
}

func (t targets) close() error {
	err := errors.Join(t.tunnel.Close(), t.nft.Close(), t.linux.Close())
	if t.wireguard != nil {
		err = errors.Join(err, t.wireguard.Close())
	}
	return err
}
