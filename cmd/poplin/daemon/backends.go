package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/overlay/durable"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

const (
	// formerLonger is how long a former backend is accepted once all nodes that
	// are alive follow the revision that brought the new one: time to hear of
	// it.
	formerLonger = 10 * time.Second
	// formerMost is how long it is accepted at most: a node that is alive and
	// cannot follow must not keep it for ever.
	formerMost = 10 * time.Minute
)

// backendBook remembers which backend this node announces, and which it
// announced before, so that peers find a way to it while they learn of the
// change. It is kept in the state directory: the documents may change while
// the daemon is away.
type backendBook struct {
	path string
	// Announced is what peers are told: the documents' backend once it stands.
	Announced *view.Backend
	Former    []formerBackend
}

// formerBackend is one that peers may still use.
type formerBackend struct {
	view.Backend
	Since time.Time
	// Agreed is when all nodes were first seen to follow the new revision; zero:
	// not yet.
	Agreed time.Time `json:"-"`
}

// backendFile is the file's form. Fields are only ever added.
type backendFile struct {
	Version   int             `json:"version"`
	Announced *view.Backend   `json:"announced"`
	Former    []formerBackend `json:"former,omitempty"`
}

func openBackendBook(stateDir string) (*backendBook, error) {
	b := &backendBook{path: filepath.Join(stateDir, "backend.json")}
	text, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	var f backendFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", b.path, err)
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("%s: version %d is not known", b.path, f.Version)
	}
	b.Announced, b.Former = f.Announced, f.Former
	return b, nil
}

// ready notes that a backend stands, so that peers can be told. It reports
// whether that is news.
func (b *backendBook) ready(own view.Backend, now time.Time) (news bool, err error) {
	if b.Announced != nil && *b.Announced == own {
		return false, nil
	}
	former := slices.DeleteFunc(slices.Clone(b.Former), func(f formerBackend) bool { return f.Backend == own })
	if b.Announced != nil {
		former = append(former, formerBackend{Backend: *b.Announced, Since: now})
	}
	b.Announced, b.Former = &own, former
	return true, b.write()
}

// expire forgets former backends that nobody can need any more. agreed says
// that all nodes that are alive follow this node's revision. It returns when to
// look again; zero: there is nothing to wait for.
func (b *backendBook) expire(agreed bool, now time.Time) (next time.Time, err error) {
	n := len(b.Former)
	b.Former = slices.DeleteFunc(b.Former, func(f formerBackend) bool { return !now.Before(f.end()) })
	for i := range b.Former {
		f := &b.Former[i]
		switch {
		case !agreed:
			f.Agreed = time.Time{}
		case f.Agreed.IsZero():
			f.Agreed = now
		}
		if end := f.end(); next.IsZero() || end.Before(next) {
			next = end
		}
	}
	if len(b.Former) < n {
		err = b.write()
	}
	return next, err
}

// end is when a former backend is not accepted any more, as things stand.
func (f formerBackend) end() time.Time {
	end := f.Since.Add(formerMost)
	if !f.Agreed.IsZero() && f.Agreed.Add(formerLonger).Before(end) {
		return f.Agreed.Add(formerLonger)
	}
	return end
}

// all are the backends that peers may use now.
func (b *backendBook) all() []view.Backend {
	var out []view.Backend
	if b.Announced != nil {
		out = append(out, *b.Announced)
	}
	for _, f := range b.Former {
		out = append(out, f.Backend)
	}
	return out
}

func (b *backendBook) write() error {
	text, err := json.MarshalIndent(backendFile{1, b.Announced, b.Former}, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Replace(b.path, append(text, '\n')); err != nil {
		return fmt.Errorf("backends: %w", err)
	}
	return nil
}

// ownBackend is what the documents ask this node to be reached by.
func ownBackend(c *schema.Cluster, node string) view.Backend {
	o := c.Overlay
	b := view.Backend{Kind: string(o.Backend), Port: o.Port, VNI: o.VNI, Direct: o.DirectRouting}
	if o.Backend == schema.BackendVXLAN {
		b.MAC = compile.VTEP(c, node)
	}
	return b
}

// transportOf is a backend as gossip tells it.
func transportOf(b view.Backend) overlay.Transport {
	t := overlay.Transport{Backend: b.Kind, Port: b.Port, VNI: b.VNI, Direct: b.Direct}
	if b.MAC != [6]byte{} {
		t.VTEP = net.HardwareAddr(b.MAC[:]).String()
	}
	return t
}

// backendOf is what gossip tells of a peer.
func backendOf(p overlay.Peer) view.Backend {
	b := view.Backend{Kind: p.Backend, Port: p.Port, VNI: p.VNI, Direct: p.Direct}
	if mac, err := net.ParseMAC(p.VTEP); err == nil {
		copy(b.MAC[:], mac)
	}
	return b
}

// needsDaemon reports whether a backend forwards only while the daemon runs.
func needsDaemon(b view.Backend, host compile.Host) bool {
	switch schema.Backend(b.Kind) {
	case schema.BackendUDP:
		return true
	case schema.BackendWireGuard:
		return !host.KernelWireGuard
	}
	return false
}

// publicKey is the node's WireGuard key. It is made when somebody wants to
// talk to this node by WireGuard for the first time.
func (d *Daemon) publicKey(f facts) (string, error) {
	wanted := f.revision.Config.Cluster.Overlay.Backend == schema.BackendWireGuard ||
		slices.ContainsFunc(f.members.Peers, func(p overlay.Peer) bool { return p.Backend == string(schema.BackendWireGuard) })
	if wanted {
		if err := d.keys.Ensure(); err != nil {
			return "", err
		}
	}
	return d.keys.Public(), nil
}

// agreed reports whether every other node that is alive follows a revision.
func agreed(members overlay.Snapshot, digest string) bool {
	return members.Joined && !slices.ContainsFunc(members.Peers, func(p overlay.Peer) bool {
		return !p.External && p.State == overlay.PeerAlive && p.Digest != digest
	})
}

// announced is the backend that peers are told: that of the documents once it
// stands, and before that the one that stands still.
func (d *Daemon) announced(c *schema.Cluster) view.Backend {
	if b := d.backends.Announced; b != nil {
		return *b
	}
	return ownBackend(c, d.o.Node)
}

// expireBackends forgets former backends in time, and has a round made when
// the next is due.
func (d *Daemon) expireBackends(f facts) {
	next, err := d.backends.expire(agreed(f.members, f.revision.Digest), time.Now())
	if err != nil {
		d.log.Warn("former backends", "error", err)
	}
	if d.expiry != nil {
		d.expiry.Stop()
	}
	if !next.IsZero() {
		d.expiry = time.AfterFunc(time.Until(next), d.kick)
	}
}

// backendReady notes after a round that the backend of its documents stands.
func (d *Daemon) backendReady(r reconciler.Round) {
	f := d.account.read().facts
	foreignLink := slices.ContainsFunc(r.Conflicts, func(c reconciler.Conflict) bool {
		key, ok := c.Key.(reconciler.LinkKey)
		return ok && key.Netns == ""
	})
	if r.Err != nil || foreignLink || d.o.Once || f.revision == nil {
		return
	}
	own := ownBackend(f.revision.Config.Cluster, d.o.Node)
	before := d.announced(f.revision.Config.Cluster)
	if d.keyReady != f.publicKey {
		d.keyReady = f.publicKey
		d.kick() // peers are told in the next round
	}
	news, err := d.backends.ready(own, time.Now())
	if err != nil {
		d.log.Warn("backend", "error", err)
	}
	if !news {
		return
	}
	if before != own {
		d.log.Info("backend changed", "from", before.Kind, "to", own.Kind)
	}
	d.kick() // peers are told in the next round
}
