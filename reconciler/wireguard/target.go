// Package wireguard is the target of WireGuard devices: what they are set up
// with, and their peers. The link itself is the linux target's, as for any
// other; where the kernel has no WireGuard it is a TUN device, to which this
// target attaches one that is embedded in the process.
//
// A device is read back each time, with two exceptions. A peer that moved has
// another endpoint than the one that was set, which is WireGuard's doing: the
// one that was set is reported. And what an embedded device had dies with the
// process.
package wireguard

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/poplin-net/poplin/overlay/wg"
	"github.com/poplin-net/poplin/reconciler"
)

// Options are what a Target is made of.
type Options struct {
	Device string // name of the only device
	Keys   *wg.Keys
	Log    *slog.Logger
}

// Target sets up the WireGuard device. An embedded one is started by Apply and
// stopped by Apply or Close; its TUN device stays.
type Target struct {
	options Options
	changes chan struct{}

	mu       sync.Mutex
	control  *wg.Control // nil: not needed yet
	embedded *wg.Embedded
	// peers are the device's as last read or set, by subnet.
	peers map[reconciler.WireGuardPeerKey]reconciler.WireGuardPeer
	// endpoints are those that were set, by public key.
	endpoints map[string]netip.AddrPort
}

var _ reconciler.Target = (*Target)(nil)

// New makes a target that runs nothing yet.
func New(o Options) *Target {
	return &Target{
		options: o, changes: make(chan struct{}, 1),
		peers: map[reconciler.WireGuardPeerKey]reconciler.WireGuardPeer{}, endpoints: map[string]netip.AddrPort{},
	}
}

// Kinds implements reconciler.Observer.
func (t *Target) Kinds() []reconciler.Kind {
	return []reconciler.Kind{reconciler.KindWireGuard, reconciler.KindWireGuardPeer}
}

// Changes implements reconciler.Target: an embedded device ended.
func (t *Target) Changes() <-chan struct{} { return t.changes }

// Close stops the embedded device, if one runs. Nothing may be applied
// afterwards.
func (t *Target) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
	if t.control == nil {
		return nil
	}
	err := t.control.Close()
	t.control = nil
	return err
}

// Observe implements reconciler.Observer.
func (t *Target) Observe(context.Context) (reconciler.Observation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state, ok, err := t.read()
	clear(t.peers)
	if err != nil || !ok {
		return reconciler.Observation{}, err
	}
	device := reconciler.WireGuard{Device: t.options.Device, PublicKey: state.PublicKey, Port: state.Port, Userspace: t.embedded != nil}
	g := &reconciler.Group{Name: "wireguard " + t.options.Device}
	if state.PublicKey != "" { // one without a key was not set up yet
		g.Objects = append(g.Objects, device)
	}
	for _, p := range state.Peers {
		endpoint, known := t.endpoints[p.PublicKey]
		if !known {
			endpoint = p.Endpoint
		}
		for _, subnet := range p.Subnets {
			o := reconciler.WireGuardPeer{
				Device: t.options.Device, Subnet: subnet, PublicKey: p.PublicKey, Endpoint: endpoint,
				Keepalive: int(p.Keepalive / time.Second),
			}
			t.peers[o.Key().(reconciler.WireGuardPeerKey)] = o
			g.Objects = append(g.Objects, o)
		}
	}
	return reconciler.Observation{State: reconciler.NewState(g)}, nil
}

// read reads the device. One that is embedded in another process is not ours.
func (t *Target) read() (wg.State, bool, error) {
	if t.embedded != nil {
		select {
		case <-t.embedded.Ended():
			t.stop()
		default:
		}
	}
	if err := t.open(); err != nil {
		return wg.State{}, false, err
	}
	return t.control.Read(t.options.Device)
}

func (t *Target) open() (err error) {
	if t.control == nil {
		t.control, err = wg.NewControl(t.options.Keys)
	}
	return err
}

// stop ends the embedded device.
func (t *Target) stop() {
	if t.embedded != nil {
		t.embedded.Close()
		t.embedded = nil
		clear(t.endpoints)
	}
}

// Apply implements reconciler.Target. The device is changed in one step at
// the end, and only the peers that the plan names.
func (t *Target) Apply(ctx context.Context, plan reconciler.Plan, _ reconciler.State) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(); err != nil {
		return err
	}
	touched := map[string]bool{} // public keys
	var device *reconciler.WireGuard
	err := reconciler.Each(ctx, plan, func(_ context.Context, op reconciler.Op) error {
		switch o := op.Object().(type) {
		case reconciler.WireGuard:
			if op.Verb == reconciler.Delete {
				t.stop()
				clear(t.peers)
				device = nil
				return nil // the kernel's goes with its link
			}
			device = &o
			return t.start(o)
		case reconciler.WireGuardPeer:
			key := o.Key().(reconciler.WireGuardPeerKey)
			touched[t.peers[key].PublicKey], touched[o.PublicKey] = true, true
			t.peers[key] = o
			if op.Verb == reconciler.Delete {
				delete(t.peers, key)
			}
			return nil
		}
		return fmt.Errorf("kind %s is not of this target", op.Object().Kind())
	})
	if err != nil {
		return err
	}
	delete(touched, "")
	return t.change(device, touched)
}

// start sees to it that there is a device to set up.
func (t *Target) start(want reconciler.WireGuard) error {
	switch {
	case !want.Userspace:
		t.stop()
		return nil
	case t.embedded != nil:
		return nil
	}
	e, err := wg.Embed(want.Device, t.options.Log)
	if err != nil {
		return err
	}
	t.embedded = e
	go func() {
		<-e.Ended()
		select {
		case t.changes <- struct{}{}:
		default:
		}
	}()
	return nil
}

// change tells the device what is new: its own set-up, if device is given,
// and the peers of these public keys.
func (t *Target) change(device *reconciler.WireGuard, touched map[string]bool) error {
	state, ok, err := t.control.Read(t.options.Device)
	if err != nil {
		return err
	}
	if !ok {
		return nil // it is gone, and its peers with it
	}
	c := wg.Change{PublicKey: state.PublicKey, Port: state.Port}
	if device != nil {
		c.PublicKey, c.Port = device.PublicKey, device.Port
	}
	if c.PublicKey == "" {
		return nil
	}
	for key := range touched {
		p := t.collect(key)
		if len(p.Subnets) == 0 {
			if slices.ContainsFunc(state.Peers, func(p wg.Peer) bool { return p.PublicKey == key }) {
				c.Remove = append(c.Remove, key)
			}
			continue
		}
		if before, known := t.endpoints[key]; known && before == p.Endpoint {
			p.Endpoint = netip.AddrPort{} // where it is by now is for the device to say
		}
		c.Set = append(c.Set, p)
	}
	slices.Sort(c.Remove)
	slices.SortFunc(c.Set, func(a, b wg.Peer) int { return slices.Compare([]byte(a.PublicKey), []byte(b.PublicKey)) })
	if err := t.greet(c, state); err != nil {
		return err
	}
	if err := t.control.Apply(t.options.Device, c); err != nil {
		return err
	}
	for key := range touched {
		t.endpoints[key] = t.collect(key).Endpoint
		if !t.endpoints[key].IsValid() {
			delete(t.endpoints, key)
		}
	}
	return nil
}

// maxGreeted is how many new peers are spoken to at once.
const maxGreeted = 32

// greet applies a change with keepalives for the peers that are new, which
// makes the device begin a handshake with each. Otherwise that would begin
// with a packet for the peer; and where the peer cannot answer yet, because it
// has not heard of this node's key, again only five seconds later
// (REKEY_TIMEOUT in the WireGuard paper, section 6.1). The change itself takes
// the keepalives back.
func (t *Target) greet(c wg.Change, state wg.State) error {
	var fresh []wg.Peer
	for _, p := range c.Set {
		known := slices.ContainsFunc(state.Peers, func(o wg.Peer) bool { return o.PublicKey == p.PublicKey })
		if !known && p.Endpoint.IsValid() && p.Keepalive == 0 {
			p.Keepalive = time.Second
			fresh = append(fresh, p)
		}
	}
	if len(fresh) == 0 || len(fresh) > maxGreeted {
		return nil
	}
	return t.control.Apply(t.options.Device, wg.Change{PublicKey: c.PublicKey, Port: c.Port, Set: fresh, Remove: c.Remove})
}

// collect makes a peer of the objects with its public key.
func (t *Target) collect(public string) wg.Peer {
	p := wg.Peer{PublicKey: public}
	for _, o := range t.peers {
		if o.PublicKey == public {
			p.Endpoint, p.Keepalive = o.Endpoint, time.Duration(o.Keepalive)*time.Second
			p.Subnets = append(p.Subnets, o.Subnet)
		}
	}
	slices.SortFunc(p.Subnets, netip.Prefix.Compare)
	return p
}
