package nft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// purger deletes the connections that plans left stale. To find them makes
// the kernel walk its whole table, for milliseconds, so while run is running
// a plan does not wait for it.
type purger struct {
	netns int
	log   *slog.Logger
	wake  chan struct{} // of size one

	mu      sync.Mutex
	pending touched // by plans since connections were last looked through
	plans   int     // how many
	running bool

	// unanswered says since when connections by their id are known to have no
	// answer. It is for one goroutine at a time: run, or where nothing runs
	// whoever carries a plan out.
	unanswered map[string]time.Time
}

// add takes over what a plan that was carried out touched.
func (p *purger) add(ctx context.Context, x touched, desired reconciler.State) {
	p.mu.Lock()
	p.pending.merge(x)
	p.pending.settle(desired)
	p.plans++
	running := p.running
	p.mu.Unlock()
	if !running {
		p.purge(ctx)
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// purgeRetryFirst and purgeRetryMost bound the pause after a search that
// failed; it doubles in between.
const (
	purgeRetryFirst = 200 * time.Millisecond
	purgeRetryMost  = 30 * time.Second
)

// run deletes stale connections after each plan until ctx ends.
func (p *purger) run(ctx context.Context) {
	p.setRunning(true)
	defer p.setRunning(false)
	var again <-chan time.Time
	pause := purgeRetryFirst
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-again:
		}
		again = nil
		switch {
		case !p.purge(ctx):
			again, pause = time.After(pause), min(2*pause, purgeRetryMost)
		case len(p.unanswered) > 0:
			again = time.After(answerTime)
			fallthrough
		default:
			pause = purgeRetryFirst
		}
	}
}

func (p *purger) setRunning(running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = running
}

// answerTime is what an endpoint that left has to answer a connection that began
// before: more than a packet takes there and back in a cluster, and little of the
// second after which a client sends its SYN again (RFC 6298 section 2), which
// would go to a dead endpoint once more. The answer may just be on its way;
// without its connection it would not be translated, and a client that has seen
// the first part of it would wait for the rest in vain.
const answerTime = 20 * time.Millisecond

// purge looks through the connections once, and reports whether that is
// done. A failure is logged: the tables are right, and run tries again.
func (p *purger) purge(ctx context.Context) (done bool) {
	p.mu.Lock()
	list, plans := p.pending.frontends(), p.plans
	patience := answerTime
	if !p.running {
		patience = 0 // nobody would look again
	}
	p.mu.Unlock()
	n, err := p.search(ctx, list, patience)
	if ctx.Err() != nil {
		return false // the rest is for Close
	}
	if err != nil {
		p.log.Warn("stale connections could not be deleted", "error", err)
		return false
	}
	if n > 0 {
		p.log.Info("deleted stale connections", "count", n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plans == plans && len(p.unanswered) == 0 {
		p.pending = touched{}
	}
	return true
}

// stale asks what holds now: an endpoint may be back since the search began.
func (p *purger) stale(c connection, local addressTest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending.stale(c, local)
}

// search deletes the stale connections of frontends, but for those that may
// still get an answer.
func (p *purger) search(ctx context.Context, list []frontend, patience time.Duration) (deleted int, err error) {
	if len(list) == 0 {
		p.unanswered = nil
		return 0, nil
	}
	var conns [2]*netlink.Conn // one to read, one to delete while reading
	for i := range conns {
		conn, e := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: p.netns})
		if e != nil {
			return 0, fmt.Errorf("conntrack: %w", e)
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		conns[i] = conn
	}
	local, err := localAddresses(p.netns)
	if err != nil {
		return 0, err
	}
	unanswered := map[string]time.Time{}
	for _, d := range dumps(list) {
		for m, err := range request(conns[0], conntrackGet, netlink.Dump, byte(family(d.family)), d.filter...) {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return deleted, fmt.Errorf("conntrack: %w", err)
			}
			c, ok := parseConnection(m)
			if !ok || !p.stale(c, local) {
				continue
			}
			if since := p.since(c); time.Since(since) < patience {
				unanswered[string(c.id)] = since
				continue
			}
			n, err := p.deleteStale(conns[1], d.family, c, local)
			deleted += n
			if err != nil {
				return deleted, fmt.Errorf("conntrack: %w", err)
			}
		}
	}
	p.unanswered = unanswered
	return deleted, nil
}

// deleteStale deletes a connection if it is stale still, and counts it. On a
// busy machine it was read long ago, and may have been answered just now.
func (p *purger) deleteStale(conn *netlink.Conn, f reconciler.Family, c connection, local addressTest) (deleted int, err error) {
	if c.protocol != reconciler.UDP {
		now, there, err := c.now(conn, f)
		if err != nil || !there || !p.stale(now, local) {
			return 0, err
		}
	}
	return 1, deleteConnection(conn, f, c)
}

// since says when a connection without an answer was found. Others, of which
// nothing is lost but a datagram, need not be waited for.
func (p *purger) since(c connection) time.Time {
	if c.protocol == reconciler.UDP {
		return time.Time{}
	}
	if t, known := p.unanswered[string(c.id)]; known {
		return t
	}
	return time.Now()
}

// merge adds what another one collected, but for freed ids.
func (t *touched) merge(o touched) {
	if t.groups == nil {
		t.left, t.opened, t.groups = map[frontend]map[netip.AddrPort]bool{}, map[frontend]bool{}, map[string]bool{}
	}
	for f, left := range o.left {
		if t.left[f] == nil {
			t.left[f] = map[netip.AddrPort]bool{}
		}
		maps.Copy(t.left[f], left)
	}
	maps.Copy(t.opened, o.opened)
	maps.Copy(t.groups, o.groups)
}
