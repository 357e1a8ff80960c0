package udp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Options are what a Tunnel is made of.
type Options struct {
	Device Device // owned by the tunnel
	Conn   Conn   // owned by the tunnel
	Log    *slog.Logger
}

// Tunnel moves packets between a device and sockets.
type Tunnel struct {
	device Device
	log    *slog.Logger
	drops  *drops
	table  atomic.Pointer[table]
	sender atomic.Pointer[Conn] // the connection to send through
	merges atomic.Bool          // the device takes merged packets

	mu     sync.Mutex // of what follows, and of changes of table and sender
	conns  []Conn     // every connection that is read
	group  *errgroup.Group
	closed bool
	moving sync.WaitGroup // the goroutines that move packets
}

// New makes a tunnel without peers. It owns the device and the connection
// from now on; Run closes them, so it must be called.
func New(o Options) *Tunnel {
	t := &Tunnel{
		device: o.Device,
		log:    o.Log.With("device", o.Device.Name()),
		drops:  newDrops(),
		conns:  []Conn{o.Conn},
	}
	t.table.Store(newTable(nil, nil))
	t.sender.Store(&o.Conn)
	t.merges.Store(rungsOf(o.Device).Has(Merge))
	return t
}

// rungsOf asks a device or connection for its rungs. One that says nothing
// has none.
func rungsOf(v any) Rungs {
	if v, ok := v.(interface{ Rungs() Rungs }); ok {
		return v.Rungs()
	}
	return 0
}

// Rungs are those that are in use now.
func (t *Tunnel) Rungs() Rungs {
	device, conn := rungsOf(t.device), rungsOf(*t.sender.Load())
	if !t.merges.Load() {
		device &^= Merge
	}
	both := Lanes | Spin
	return (device|conn)&^both | device&conn&both
}

// Run moves packets until the context ends, which is no error, or until the
// device or the current connection fails. When it returns, the device and all
// connections are closed. It is called once.
func (t *Tunnel) Run(ctx context.Context) error {
	if err := t.checkLanes(*t.sender.Load()); err != nil {
		return errors.Join(err, t.close())
	}
	group, running := errgroup.WithContext(ctx)
	t.mu.Lock()
	t.group = group
	for lane := range t.device.Lanes() {
		t.move(func() error { return t.outbound(lane) })
	}
	for _, c := range t.conns {
		t.read(c)
	}
	t.mu.Unlock()
	group.Go(func() error {
		t.drops.report(running, t.log)
		return nil
	})
	group.Go(func() error {
		<-running.Done()
		return t.close() // makes the other goroutines return
	})

	if err := group.Wait(); ctx.Err() == nil {
		return fmt.Errorf("tunnel %s: %w", t.device.Name(), err)
	}
	return nil
}

// SetPeers replaces all peers, before or while the tunnel runs. Packets that
// are on their way see either the old peers or the new ones.
func (t *Tunnel) SetPeers(peers []Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.Store(newTable(peers, t.table.Load()))
}

// SetConn sends through another connection from now on. Former connections
// are still read, so that peers which do not know of the change yet are heard;
// a caller that has waited long enough closes them. A connection that the
// tunnel reads already can be set again. Once the tunnel has ended, SetConn
// closes the connection and returns net.ErrClosed; it also refuses one with
// fewer lanes than the device has.
func (t *Tunnel) SetConn(c Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.Join(fmt.Errorf("tunnel %s: %w", t.device.Name(), net.ErrClosed), c.Close())
	}
	if err := t.checkLanes(c); err != nil {
		return errors.Join(err, c.Close())
	}
	t.sender.Store(&c)
	if slices.Contains(t.conns, c) {
		return nil
	}
	t.conns = append(t.conns, c)
	if t.group != nil {
		t.read(c)
	}
	return nil
}

// checkLanes makes sure that every lane of the device has one to write to.
func (t *Tunnel) checkLanes(c Conn) error {
	if device, conn := t.device.Lanes(), c.Lanes(); conn < device {
		return fmt.Errorf("tunnel %s: %d lanes of the device, only %d of socket %s", t.device.Name(), device, conn, c.Local())
	}
	return nil
}

// read starts to read all lanes of a connection.
func (t *Tunnel) read(c Conn) {
	for lane := range c.Lanes() {
		t.move(func() error { return t.inbound(c, lane) })
	}
}

// move starts a goroutine that moves packets; the caller holds the lock.
func (t *Tunnel) move(f func() error) {
	t.moving.Add(1)
	t.group.Go(func() error {
		defer t.moving.Done()
		return f()
	})
}

// close ends the reading, waits until what was read is on its way, and closes
// everything: what is left in queues and sockets is for those who inherit
// them.
func (t *Tunnel) close() error {
	t.mu.Lock()
	t.closed = true
	drains := stopReading(t.device)
	for _, c := range t.conns {
		drains = stopReading(c) && drains
	}
	t.mu.Unlock()
	if drains {
		t.moving.Wait()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.device.Close()
	for _, c := range t.conns {
		err = errors.Join(err, c.Close())
	}
	return err
}

// stopReading makes reads of a device or connection end, if it is one that
// can still be written to then.
func stopReading(v any) bool {
	s, ok := v.(interface{ StopReading() })
	if ok {
		s.StopReading()
	}
	return ok
}

// leave is called when a connection cannot be read any more, and returns what
// that means for the tunnel: nothing for a former connection.
func (t *Tunnel) leave(c Conn, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	if *t.sender.Load() == c {
		return fmt.Errorf("socket %s: %w", c.Local(), err)
	}
	t.conns = slices.DeleteFunc(t.conns, func(other Conn) bool { return other == c })
	return c.Close()
}
