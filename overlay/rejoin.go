package overlay

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// A node that is still alone dials a few others at a time: the first that
// answers tells it of all the rest, and a cluster that starts as a whole
// does not dial everybody from everywhere.
const (
	aloneBatch = 8
	alonePause = 250 * time.Millisecond
)

// rejoin dials every known but absent node, for ever, without back-off: two
// halves of a cluster that gave each other up meet again no other way.
func (i *instance) rejoin(ctx context.Context) {
	interval := i.n.options.Timing.Rejoin
	dialed := map[netip.AddrPort]time.Time{}
	for {
		alone := i.n.members.Load() <= 1
		targets := slices.Clone(i.n.view.Load().targets)
		rand.Shuffle(len(targets), func(a, b int) { targets[a], targets[b] = targets[b], targets[a] })
		started := 0
		for _, t := range targets {
			// Jitter, so that nodes which were started together do not stay so.
			due := interval/2 + time.Duration(rand.Int64N(int64(interval)))
			if _, busy := i.dialing.Load(t.addr); busy || time.Since(dialed[t.addr]) < due || alone && started == aloneBatch {
				continue
			}
			started++
			dialed[t.addr] = time.Now()
			i.dialing.Store(t.addr, true)
			i.wg.Go(func() { i.dial(ctx, t.addr) })
		}
		wait := interval / 4
		if len(targets) == 0 {
			wait = interval
		} else if alone {
			wait = min(wait, alonePause)
		}
		select {
		case <-ctx.Done():
			return
		case <-i.n.changed:
		case <-time.After(wait):
		}
	}
}

func (i *instance) dial(ctx context.Context, addr netip.AddrPort) {
	defer i.dialing.Delete(addr)
	select {
	case <-ctx.Done():
		return
	case i.streams <- struct{}{}:
	}
	defer func() { <-i.streams }()
	_, err := i.list.Join([]string{addr.String()})
	i.n.inbox.put(evDial{addr, err})
}

// targets lists the addresses of absent nodes: of the roster, or of those
// heard of where there is none.
func (c *core) targets() []target {
	var out []target
	seen := map[netip.AddrPort]bool{}
	add := func(name string, addr netip.AddrPort) {
		if addr.IsValid() && addr != c.network.gossip && !seen[addr] {
			seen[addr] = true
			out = append(out, target{name, addr})
		}
	}
	up := map[netip.AddrPort]bool{}
	for _, m := range c.members {
		up[m.addr] = up[m.addr] || m.up && m.stale.IsZero()
	}
	port := c.opts.Address.Port()
	if c.network.gossip.IsValid() {
		port = c.network.gossip.Port()
	}
	for name := range c.peerNames() {
		m := c.members[name]
		node := c.byName[name]
		if m != nil && m.up && m.stale.IsZero() || node != nil && node.External {
			continue
		}
		if r, ok := c.current(name); ok {
			add(name, r.Gossip)
		}
		if m != nil {
			add(name, m.addr)
		}
		if node != nil && node.Gossip.IsValid() {
			add(name, node.Gossip)
		} else if node != nil {
			for _, a := range node.Addresses {
				add(name, netip.AddrPortFrom(a, port))
			}
		}
		if e, ok := c.conflicts[name]; ok {
			add(name, e.other)
		}
	}
	for _, addr := range c.opts.Join {
		if !up[addr] {
			add("", addr)
		}
	}
	slices.SortFunc(out, func(a, b target) int { return a.addr.Compare(b.addr) })
	return out
}

// view gathers what the callbacks and the rejoin loop may see.
func (c *core) view() *view {
	v := &view{
		settings: c.settings, generation: c.generation, version: c.self.Version,
		tombstones: c.ledger.tombstones(), targets: c.targets(),
	}
	for r := range c.records.all() {
		v.have = append(v.have, have{r.Node, r.ID, r.Generation, r.Version})
	}
	return v
}
