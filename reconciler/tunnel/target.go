// Package tunnel is the target of userspace tunnels: it runs the data path
// of package overlay/udp as the objects Tunnel and TunnelPeer ask.
//
// A tunnel attaches to a device that the target of links has made, and needs
// no more from the kernel than its socket. One that died, because somebody
// deleted its device, is not observed: the loop then makes device, tunnel and
// peers anew, as for anything else that went missing.
//
// A tunnel that moves to another local port goes on listening at the port
// that it had, for ten minutes, because peers learn of the change at
// different times.
//
// What waits in the queues of a device and in the sockets of a tunnel outlives
// the process where a Store keeps them: a tunnel is made of what a former
// process left, if that is what is asked for now, and else anew.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/reconciler"
)

// Options are what a Target is made of.
type Options struct {
	// OpenDevice attaches to a device that exists; udp.OpenDevice.
	OpenDevice func(name string, tuning udp.Tuning) (udp.Device, error)
	// Listen opens a socket; udp.Listen.
	Listen func(local netip.AddrPort, tuning udp.Tuning) (udp.Conn, error)
	// Store keeps queues and sockets beyond the end of the process; nil: nobody
	// does.
	Store Store
	// Tuning is given to both.
	Tuning udp.Tuning
	// Linger is how long a tunnel hears its former address and port after
	// they changed; 0 means ten minutes.
	Linger time.Duration
	Log    *slog.Logger
}

// Target runs tunnels. Tunnels are started by Apply and stopped by Apply or
// Close; the process that ends without Close takes them along.
type Target struct {
	options Options
	changes chan struct{}
	runs    context.Context // of all tunnels
	stop    context.CancelFunc

	mu      sync.Mutex
	tunnels map[string]*running // by device
	// applied is the state that the last Apply led to, if all of it came true.
	applied *reconciler.State
}

var _ reconciler.Target = (*Target)(nil)

// New makes a target that runs nothing yet.
func New(o Options) *Target {
	if o.Linger == 0 {
		o.Linger = 10 * time.Minute
	}
	t := &Target{options: o, changes: make(chan struct{}, 1), tunnels: map[string]*running{}}
	t.runs, t.stop = context.WithCancel(context.Background())
	return t
}

// Kinds implements reconciler.Observer.
func (t *Target) Kinds() []reconciler.Kind {
	return []reconciler.Kind{reconciler.KindTunnel, reconciler.KindTunnelPeer}
}

// Changes implements reconciler.Target: a tunnel died.
func (t *Target) Changes() <-chan struct{} { return t.changes }

// Observe implements reconciler.Observer. It reports the tunnels that run,
// with their peers; as the groups of the state last applied where possible.
func (t *Target) Observe(context.Context) (reconciler.Observation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var groups []*reconciler.Group
	whole := t.applied != nil
	for _, r := range t.tunnels {
		if !r.alive() {
			whole = false
			continue
		}
		groups = append(groups, r.group())
	}
	if whole {
		return reconciler.Observation{State: *t.applied}, nil
	}
	return reconciler.Observation{State: reconciler.NewState(groups...)}, nil
}

// Apply implements reconciler.Target. A tunnel moves its first packet when
// its peers are known, and the peers of a tunnel change all at once.
func (t *Target) Apply(ctx context.Context, plan reconciler.Plan, desired reconciler.State) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applied = nil
	maps.DeleteFunc(t.tunnels, func(_ string, r *running) bool { return !r.alive() })
	err := reconciler.Each(ctx, plan, func(_ context.Context, op reconciler.Op) error {
		switch object := op.Object().(type) {
		case reconciler.Tunnel:
			return t.applyTunnel(op.Verb, object)
		case reconciler.TunnelPeer:
			return t.applyPeer(op.Verb, object)
		}
		return fmt.Errorf("kind %s is not of this target", op.Object().Kind())
	})
	for _, r := range t.tunnels {
		r.setPeers()
		if r.ready() {
			r.start(t.runs, t.died)
		}
	}
	if t.holds(desired) {
		t.applied = &desired
	}
	return err
}

// Counters reads the counters of the tunnels that run, by device.
func (t *Target) Counters() map[string]udp.Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	counters := make(map[string]udp.Counters, len(t.tunnels))
	for device, r := range t.tunnels {
		if r.alive() {
			counters[device] = r.tunnel.Counters()
		}
	}
	return counters
}

// Rungs are the means that the tunnels which run use now, by device.
func (t *Target) Rungs() map[string]udp.Rungs {
	t.mu.Lock()
	defer t.mu.Unlock()
	rungs := make(map[string]udp.Rungs, len(t.tunnels))
	for device, r := range t.tunnels {
		if r.alive() {
			rungs[device] = r.tunnel.Rungs()
		}
	}
	return rungs
}

// Close stops all tunnels and returns when they have ended. Devices stay.
// Nothing may be applied afterwards.
func (t *Target) Close() error {
	t.stop()
	t.mu.Lock()
	tunnels := t.tunnels
	t.tunnels, t.applied = map[string]*running{}, nil
	t.mu.Unlock()
	for _, r := range tunnels {
		r.start(t.runs, t.died) // one that waits for peers has a device to close, too
		r.wait()
	}
	return nil
}

func (t *Target) applyTunnel(verb reconciler.Verb, want reconciler.Tunnel) error {
	r := t.tunnels[want.Device]
	switch {
	case verb == reconciler.Delete:
		if r != nil {
			t.remove(r)
		}
		return nil
	case r != nil && r.alive():
		return r.move(want, t.options)
	}
	r, err := newRunning(want, t.options)
	if err == nil {
		t.tunnels[want.Device] = r
	}
	return err
}

// remove stops a tunnel. What its end makes known finds it removed already.
func (t *Target) remove(r *running) {
	delete(t.tunnels, r.object.Device)
	t.options.forget(r.object.Device)
	r.start(t.runs, t.died) // one that never ran has a device to close, too
	r.cancel()
	r.wait()
}

func (t *Target) applyPeer(verb reconciler.Verb, peer reconciler.TunnelPeer) error {
	r := t.tunnels[peer.Device]
	switch {
	case verb == reconciler.Delete:
		if r != nil {
			r.deletePeer(peer.Key())
		}
		return nil
	case r == nil || !r.alive():
		return errors.New("the tunnel does not run")
	}
	r.putPeer(peer)
	return nil
}

// died is called in the goroutine of a tunnel that ended by itself.
func (t *Target) died(r *running, err error) {
	t.options.Log.Warn("tunnel ended", "device", r.object.Device, "error", err)
	select {
	case t.changes <- struct{}{}:
	default:
	}
}

// holds reports whether what runs is exactly a state.
func (t *Target) holds(state reconciler.State) bool {
	n := 0
	for _, r := range t.tunnels {
		n += 1 + len(r.peers)
	}
	if n != state.Len() {
		return false
	}
	for _, o := range state.Objects() {
		if !t.has(o) {
			return false
		}
	}
	return true
}

func (t *Target) has(o reconciler.Object) bool {
	switch o := o.(type) {
	case reconciler.Tunnel:
		r := t.tunnels[o.Device]
		return r != nil && r.object == o
	case reconciler.TunnelPeer:
		r := t.tunnels[o.Device]
		return r != nil && r.peers[o.Key()] == o
	}
	return false
}
