package probe

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// interval is how often every path is looked at.
	interval = time.Minute
	// tries is how often a packet may get lost.
	tries = 3
	// pace is the pause between two peers, so that answers to many do not come
	// at once.
	pace = time.Millisecond
)

// Target is a peer's end of a path.
type Target struct {
	Node    string
	Address netip.Addr // of the peer, reached through the overlay
	Size    int        // bytes that a packet to it may have, with its IP header
}

// Lie is a path on which packets of the promised size get lost.
type Lie struct {
	Target
	// Fits is the size that arrives; 0 where none was found.
	Fits int
}

// Options are what a Prober is made of.
type Options struct {
	// Patience is how long an answer may take; 0 means a second.
	Patience time.Duration
	Log      *slog.Logger
}

// Prober looks at paths. Run does the work; all else may be called by any
// goroutine.
type Prober struct {
	options Options
	wake    chan struct{}

	mu      sync.Mutex
	targets []Target
	lies    map[Target]Lie
	waiting map[uint64]chan struct{} // by cookie; closed by the answer
	sockets [2]*socket               // IPv4, IPv6; nil: there is none
}

// New makes a prober without targets.
func New(o Options) *Prober {
	if o.Patience == 0 {
		o.Patience = time.Second
	}
	return &Prober{options: o, wake: make(chan struct{}, 1), lies: map[Target]Lie{}, waiting: map[uint64]chan struct{}{}}
}

// Follow says which paths there are. New ones are looked at at once.
func (p *Prober) Follow(targets []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(targets, p.targets) {
		return
	}
	p.targets = slices.Clone(targets)
	for t := range p.lies {
		if !slices.Contains(targets, t) {
			delete(p.lies, t)
		}
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Lies are the paths that were last found to lie, by name of the node.
func (p *Prober) Lies() []Lie {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Lie
	for _, t := range p.targets {
		if l, ok := p.lies[t]; ok {
			out = append(out, l)
		}
	}
	return out
}

// Run looks at the paths until ctx ends. Without the right to do so it says
// so and does nothing.
func (p *Prober) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, v6 := range []bool{false, true} {
		s, err := openSocket(v6)
		if err != nil {
			p.options.Log.Warn("paths are not probed", "error", err)
			continue
		}
		p.sockets[i] = s
		g.Go(func() error { <-ctx.Done(); return s.conn.Close() })
		g.Go(func() error { return p.listen(ctx, s) })
	}
	g.Go(func() error {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-p.wake:
			case <-tick.C:
			}
			p.sweep(ctx)
		}
	})
	return g.Wait()
}

// listen passes answers on.
func (p *Prober) listen(ctx context.Context, s *socket) error {
	buf := make([]byte, maxAnswer)
	for {
		cookie, err := s.receive(buf)
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			continue // the address is gone, or the like
		}
		p.mu.Lock()
		if c := p.waiting[cookie]; c != nil {
			close(c)
			delete(p.waiting, cookie)
		}
		p.mu.Unlock()
	}
}

// sweep looks at every path once.
func (p *Prober) sweep(ctx context.Context) {
	p.mu.Lock()
	targets := p.targets
	p.mu.Unlock()
	var g sync.WaitGroup
	for _, t := range targets {
		g.Go(func() { p.look(ctx, t) })
		select {
		case <-ctx.Done():
		case <-time.After(pace):
		}
	}
	g.Wait()
}

// look finds out about one path.
func (p *Prober) look(ctx context.Context, t Target) {
	const small = 128
	full := p.arrives(ctx, t.Address, t.Size)
	lies := !full && p.arrives(ctx, t.Address, small) && !p.arrives(ctx, t.Address, t.Size)
	l := Lie{Target: t}
	if lies {
		l.Fits = p.search(ctx, t, small)
	}
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.targets, t) {
		return
	}
	if _, known := p.lies[t]; lies && !known {
		p.options.Log.Warn("large packets get lost on the way", "node", t.Node, "size", t.Size, "arrives", l.Fits)
	}
	delete(p.lies, t)
	if lies {
		p.lies[t] = l
	}
}

// search finds the largest size that arrives, above one that does.
func (p *Prober) search(ctx context.Context, t Target, arrives int) int {
	lost := t.Size
	for lost-arrives > 1 && ctx.Err() == nil {
		middle := (arrives + lost) / 2
		if p.arrives(ctx, t.Address, middle) {
			arrives = middle
		} else {
			lost = middle
		}
	}
	return arrives
}

// arrives reports whether a packet of a size is answered.
func (p *Prober) arrives(ctx context.Context, to netip.Addr, size int) bool {
	s := p.sockets[0]
	if to.Is6() {
		s = p.sockets[1]
	}
	if s == nil {
		return true // nobody knows
	}
	cookie, answered := rand.Uint64(), make(chan struct{})
	p.mu.Lock()
	p.waiting[cookie] = answered
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, cookie)
		p.mu.Unlock()
	}()
	for range tries {
		_ = s.send(to, size, cookie) // what cannot be sent is not answered
		timer := time.NewTimer(p.options.Patience)
		select {
		case <-answered:
			timer.Stop()
			return true
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
	return false
}
