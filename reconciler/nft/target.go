package nft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// Options say where a Target works.
type Options struct {
	// NetNS is a descriptor of the network namespace; 0 is the current one
	// of the calling thread. It must stay open as long as the Target is used.
	NetNS int
	Log   *slog.Logger // nil: nothing is logged
}

// Target is the place where the tables of both families live. It implements
// reconciler.Target.
type Target struct {
	netns   int
	log     *slog.Logger
	changes chan struct{}
	monitor *monitor
	purger  *purger

	mu   sync.Mutex // held while the tables are read or written
	conn *nftables.Conn
	// seen is what the tables hold, as long as the monitor has heard nothing.
	seen      reconciler.State
	conflicts []reconciler.Conflict
	// desired is the last state that was asked for: its groups are given
	// back where the tables hold them whole.
	desired reconciler.State
	touched touched                                // by plans that were not carried out yet
	tables  map[reconciler.Family]reconciler.Table // the tables that are ours, as seen
	handles map[reconciler.Family]uint64           // the kernel's numbers of them
	chains  map[reconciler.Chain]bool              // that are in them, as seen
	// noDestroy says that this kernel deletes only elements that are there.
	noDestroy bool
}

var _ reconciler.Target = (*Target)(nil)

// New makes a target. It opens sockets, starts nothing and changes nothing.
func New(o Options) (*Target, error) {
	t := &Target{
		netns: o.NetNS, log: o.Log, changes: make(chan struct{}, 1),
		tables:  map[reconciler.Family]reconciler.Table{},
		handles: map[reconciler.Family]uint64{},
		chains:  map[reconciler.Chain]bool{},
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.purger = &purger{netns: o.NetNS, log: t.log, wake: make(chan struct{}, 1)}
	var err error
	if t.monitor, err = newMonitor(o.NetNS); err != nil {
		return nil, err
	}
	t.monitor.forget()
	if err := t.connect(); err != nil {
		return nil, errors.Join(err, t.monitor.close())
	}
	return t, nil
}

// Close releases the sockets. The tables stay.
func (t *Target) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.purger.purge(context.Background()) // what a plan left just before
	return errors.Join(t.disconnect(), t.monitor.close())
}

// connect opens the socket of the commits.
func (t *Target) connect() error {
	if t.conn != nil {
		return nil
	}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(t.netns))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	port, err := conn.GetPortID()
	if err == nil {
		err = t.monitor.ignore(port)
	}
	if err != nil {
		return errors.Join(err, conn.CloseLasting())
	}
	t.conn = conn
	return nil
}

func (t *Target) disconnect() error {
	if t.conn == nil {
		return nil
	}
	conn := t.conn
	t.conn = nil
	return errors.Join(t.monitor.heed(), conn.CloseLasting())
}

// Kinds implements reconciler.Observer.
func (t *Target) Kinds() []reconciler.Kind {
	return []reconciler.Kind{reconciler.KindTable, reconciler.KindChain, reconciler.KindElement}
}

// Changes implements reconciler.Target. It needs Run.
func (t *Target) Changes() <-chan struct{} { return t.changes }

// Run listens for changes that others make to our tables until ctx ends.
// Without it Observe still notices them. Meanwhile Apply does not wait until
// stale connections are deleted.
func (t *Target) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var purging sync.WaitGroup
	purging.Go(func() { t.purger.run(ctx) })
	defer purging.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		// The past wakes a blocked read. It fails only on a closed socket.
		_ = t.monitor.conn.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	for {
		news, err := t.monitor.wait()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if news {
			t.kick()
		}
	}
}

// kick signals a change unless one is waiting.
func (t *Target) kick() {
	select {
	case t.changes <- struct{}{}:
	default:
	}
}

// Observe implements reconciler.Observer. It costs nothing while nobody else
// changed our tables; then it reads those that were.
func (t *Target) Observe(ctx context.Context) (reconciler.Observation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.observe(ctx); err != nil {
		return reconciler.Observation{}, err
	}
	return reconciler.Observation{State: t.seen, Conflicts: t.conflicts}, nil
}

// observeTries bounds how often the tables are read again because they
// changed meanwhile.
const observeTries = 5

// observe brings seen up to date.
func (t *Target) observe(ctx context.Context) error {
	if err := t.listen(); err != nil {
		return err
	}
	changed := t.monitor.changed()
	for range observeTries {
		if len(changed) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		t.monitor.clear(changed)
		tables, err := t.read(changed)
		if err != nil {
			t.monitor.forget()
			return err
		}
		t.adopt(tables)
		if err := t.listen(); err != nil {
			return err
		}
		changed = t.monitor.changed()
	}
	t.monitor.forget()
	return fmt.Errorf("table %s %s is being changed all the time", changed[0], tableName)
}

// listen takes in the events that have arrived, and passes on what Run then
// will not hear of: who observes need not be who mends.
func (t *Target) listen() error {
	news, err := t.monitor.drain()
	if news {
		t.kick()
	}
	return err
}

// read reads the tables of families.
func (t *Target) read(list []reconciler.Family) (map[reconciler.Family]found, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: t.netns})
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	wanted := map[reconciler.Chain]bool{}
	for _, o := range t.desired.Objects() {
		if c, ok := o.(reconciler.Chain); ok {
			wanted[c] = true
		}
	}
	tables := make(map[reconciler.Family]found, len(list))
	for _, f := range list {
		r := &reader{conn: conn, family: f, wanted: wanted}
		if tables[f], err = r.read(t.handles[f]); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return tables, conn.Close()
}

// Cleanup deletes the tables that are poplin's.
func (t *Target) Cleanup(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.monitor.forget()
	if err := t.observe(ctx); err != nil {
		return err
	}
	var plan reconciler.Plan
	for _, o := range t.seen.Objects() {
		if o.Kind() == reconciler.KindTable {
			plan = append(plan, reconciler.Op{Verb: reconciler.Delete, Before: o})
		}
	}
	if len(plan) == 0 {
		return nil
	}
	err := t.commit(plan, reconciler.State{})
	t.monitor.forget()
	return err
}
