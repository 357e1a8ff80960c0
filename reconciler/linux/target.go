// Package linux is the target of everything that lives in the kernel's
// network stack apart from nftables: pods' namespaces, links, sysctls,
// addresses and routes; and of files that tell others about them. It is the
// only package that speaks rtnetlink and reads or writes /proc/sys.
//
// What is ours is told by marks: a link by its alias (poplin CLUSTER/NAME),
// an address, a neighbour and a forwarding entry by the link that it is on, a
// route by its protocol number, a namespace and a sysctl by a record in the
// state directory, a file by its first line. A proxy neighbour has the routes'
// mark. Everything else is somebody else's and is never touched.
//
// The target keeps what it read of each pod's namespace until an rtnetlink
// event says that the namespace changed: one socket that listens to all
// namespaces with an id (NETLINK_LISTEN_ALL_NSID) hears them all. The host's
// own namespace is read again in every observation. An event counts as a
// change only if what it concerns now differs both from what Observe last
// returned and from what Apply was last asked to reach, so that neither
// foreign noise nor our own work makes a round.
package linux

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

// Options are the parameters of a Target.
type Options struct {
	// Cluster is the name that the marks carry. Links of another cluster's
	// poplin on this host are foreign.
	Cluster string
	// StateDir is the directory of the records.
	StateDir string
	// NetnsDir is the directory in which pods' namespaces are bound; "" is
	// /run/netns.
	NetnsDir string
	// MountNS names the mount namespace in which they are bound and in which
	// files are written, such as /proc/1/ns/mnt; "" is the process's own.
	MountNS string
	// ReadOnly makes a target that changes nothing, in the kernel or in the
	// state directory; Apply and Cleanup fail.
	ReadOnly bool
	Log      *slog.Logger // nil: no log
}

// errReadOnly is what a read-only target answers to Apply and Cleanup.
var errReadOnly = errors.New("the target is read-only")

// Target is the reconciler.Target of namespaces, links, sysctls, addresses,
// routes, proxy neighbours and files. It works in the network namespace that
// the process is in.
type Target struct {
	o       Options
	log     *slog.Logger
	alias   string       // what the aliases of our links start with
	seed    maphash.Seed // of fingerprints
	changes chan struct{}
	dirt    dirt
	// interest is what the reader of events needs to know of the last
	// observation.
	interest atomic.Pointer[interest]
	applying atomic.Bool
	live     atomic.Bool // Run hears events, so that what it read of pods stays true

	mu                    sync.Mutex // everything below
	host                  *conn
	mounts                mounts
	namespaces            *namespaceRecords
	sysctls               *sysctlRecords
	files                 *fileRecords
	watch                 *dirWatch // nil: Run does not run
	neighbours            *eventSocket
	watched               bool // every directory that holds files of ours is watched
	pods                  map[string]*pod
	refused               map[string]uint64 // bound namespaces that are not ours: name → inode
	seen                  snapshot          // of the last refresh
	current               bool              // seen was read as a whole since the last Apply, and with events since
	returned              prints            // of the last observation that Observe returned
	desired               reconciler.State  // of the last Apply
	wanted                uint64            // its fingerprint
	seenSums, desiredSums sums
	underlays             map[string]Underlay
	bridgeNF              bool
	kernelWG              bool
	askedWG               time.Time         // when that was found out
	orphans               map[uint64]string // inode → name of namespaces we removed
}

// New makes a target. It reads the records and opens a connection to the
// kernel; it starts nothing.
func New(o Options) (*Target, error) {
	if o.NetnsDir == "" {
		o.NetnsDir = "/run/netns"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if !o.ReadOnly {
		if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
	}
	t := &Target{
		o: o, log: o.Log, alias: "poplin " + o.Cluster + "/",
		seed: maphash.MakeSeed(), changes: make(chan struct{}, 1),
		mounts: mounts{dir: o.NetnsDir, namespace: o.MountNS},
		pods:   map[string]*pod{}, refused: map[string]uint64{},
		underlays: map[string]Underlay{}, orphans: map[uint64]string{},
	}
	t.interest.Store(&interest{})
	var err error
	if t.namespaces, err = readNamespaceRecords(o.StateDir); err != nil {
		return nil, err
	}
	if t.sysctls, err = readSysctlRecords(o.StateDir); err != nil {
		return nil, err
	}
	if t.files, err = readFileRecords(o.StateDir); err != nil {
		return nil, err
	}
	if t.host, err = newConn(); err != nil {
		return nil, err
	}
	return t, nil
}

// Close releases the target's descriptors. What it applied stays.
func (t *Target) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.pods {
		t.forget(name)
	}
	if t.host != nil {
		t.host.Close()
		t.host = nil
	}
	return nil
}

// Kinds implements reconciler.Observer.
func (t *Target) Kinds() []reconciler.Kind {
	return []reconciler.Kind{
		reconciler.KindNamespace, reconciler.KindLink, reconciler.KindSysctl,
		reconciler.KindAddress, reconciler.KindNeighbour, reconciler.KindFDBEntry, reconciler.KindRoute, reconciler.KindProxyNeighbour,
		reconciler.KindFile,
	}
}

// Changes implements reconciler.Target. It receives only while Run runs.
func (t *Target) Changes() <-chan struct{} { return t.changes }

// Observe implements reconciler.Observer. It can be used without Run; every
// observation then reads everything. With Run the first one after an Apply
// reads everything but the pods' namespaces that no event told of, and others
// read only what events, or the regular audits, told of.
//
// Conflicts are reported for all names that poplin might need; whether it
// does is for the caller to say.
func (t *Target) Observe(ctx context.Context) (reconciler.Observation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refresh(ctx, !t.current || !t.live.Load()); err != nil {
		return reconciler.Observation{}, err
	}
	t.current = true
	t.returned = t.seen.prints
	state := t.seen.state
	if t.seen.prints.objects == t.wanted && t.wanted != 0 {
		// The same group pointers make the caller's Diff cheap.
		state = t.desired
	}
	return reconciler.Observation{State: state, Conflicts: t.seen.conflicts}, nil
}

// kick tells the reader of Changes that something changed.
func (t *Target) kick() {
	select {
	case t.changes <- struct{}{}:
	default:
	}
}
