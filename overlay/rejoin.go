package overlay

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// rejoin dials every known but absent node, for ever, without back-off: two
// halves of a cluster that gave each other up meet again no other way.
func (i *instance) rejoin(ctx context.Context) {
	interval := i.n.options.Timing.Rejoin
	for {
		for _, t := range i.n.view.Load().targets {
			if t.addr == i.gossip {
				i.n.inbox.put(evDial{t.addr, nil})
				continue
			}
			if _, busy := i.dialing.LoadOrStore(t.addr, true); busy {
				continue
			}
			i.wg.Go(func() { i.dial(ctx, t.addr) })
		}
		// Jitter, so that nodes which were started together do not stay so.
		wait := interval/2 + time.Duration(rand.Int64N(int64(interval)))
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
	port := c.opts.Bind.Port()
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
		if node != nil {
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
