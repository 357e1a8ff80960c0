package tunnel

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/reconciler"
)

// running is a tunnel with what was asked of it. All but alive, wait and the
// timers of former connections is called with the target's lock held.
type running struct {
	object reconciler.Tunnel
	peers  map[reconciler.Key]reconciler.TunnelPeer
	stale  bool // peers are not the tunnel's yet
	tunnel *udp.Tunnel
	conn   udp.Conn
	heir   bool // of a device in whose queues packets wait
	linger time.Duration

	cancel context.CancelFunc // nil until started
	ended  chan struct{}

	mu     sync.Mutex // of former
	former map[netip.AddrPort]*formerConn
}

// formerConn is a connection that is only read, for a while.
type formerConn struct {
	conn  udp.Conn
	timer *time.Timer
}

// newRunning opens the device and the socket of a tunnel, which moves no
// packet before it is started.
func newRunning(want reconciler.Tunnel, o Options) (*running, error) {
	device, inherited, err := o.openDevice(want)
	if err != nil {
		return nil, err
	}
	conn, err := o.openConn(want)
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return &running{
		object: want,
		peers:  map[reconciler.Key]reconciler.TunnelPeer{},
		tunnel: udp.New(udp.Options{Device: device, Conn: conn, Log: o.Log}),
		conn:   conn,
		heir:   inherited,
		linger: o.Linger,
		ended:  make(chan struct{}),
		former: map[netip.AddrPort]*formerConn{},
	}, nil
}

// ready reports whether the tunnel may move packets. Those that wait since the
// former process ended wait until it is known where they go.
func (r *running) ready() bool { return !r.heir || len(r.peers) > 0 }

// start runs the tunnel unless it runs already. When it ends and the context
// did not, died is called.
func (r *running) start(ctx context.Context, died func(*running, error)) {
	if r.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	r.cancel = cancel
	go func() {
		defer cancel()
		err := r.tunnel.Run(ctx)
		r.forget()
		close(r.ended)
		if ctx.Err() == nil {
			died(r, err)
		}
	}()
}

// alive reports whether the tunnel has not ended.
func (r *running) alive() bool {
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// wait returns when the tunnel, once started, has ended.
func (r *running) wait() { <-r.ended }

// move binds the tunnel to another address and port, and goes on listening
// where it was.
func (r *running) move(want reconciler.Tunnel, o Options) error {
	if want == r.object {
		return nil
	}
	conn := r.recall(want.Local)
	if conn == nil {
		var err error
		if conn, err = o.Listen(want.Local, o.Tuning); err != nil {
			return err
		}
	}
	o.remove(socketsName(want.Device))
	o.keep(socketsName(want.Device), conn)
	if err := r.tunnel.SetConn(conn); err != nil {
		return err
	}
	r.retain(r.object.Local, r.conn)
	r.object, r.conn = want, conn
	return nil
}

// recall takes back a connection that has not been closed yet.
func (r *running) recall(local netip.AddrPort) udp.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.former[local]
	if f == nil {
		return nil
	}
	f.timer.Stop()
	delete(r.former, local)
	return f.conn
}

// retain closes a connection later.
func (r *running) retain(local netip.AddrPort, conn udp.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &formerConn{conn: conn}
	f.timer = time.AfterFunc(r.linger, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.former[local] == f { // not recalled meanwhile
			delete(r.former, local)
			_ = conn.Close() // a socket; there is nothing to lose
		}
	})
	r.former[local] = f
}

// forget drops former connections, which the tunnel has closed.
func (r *running) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.former {
		f.timer.Stop()
	}
	clear(r.former)
}

func (r *running) putPeer(p reconciler.TunnelPeer) {
	if r.peers[p.Key()] != p {
		r.peers[p.Key()] = p
		r.stale = true
	}
}

func (r *running) deletePeer(key reconciler.Key) {
	if _, ok := r.peers[key]; ok {
		delete(r.peers, key)
		r.stale = true
	}
}

// setPeers gives the tunnel its peers if they changed.
func (r *running) setPeers() {
	if !r.stale {
		return
	}
	r.tunnel.SetPeers(collect(r.peers))
	r.stale = false
}

// collect makes one peer of the subnets that a node has at one endpoint.
func collect(objects map[reconciler.Key]reconciler.TunnelPeer) []udp.Peer {
	type id struct {
		node     string
		endpoint netip.AddrPort
	}
	subnets := map[id][]netip.Prefix{}
	for _, p := range objects {
		subnets[id{p.Node, p.Endpoint}] = append(subnets[id{p.Node, p.Endpoint}], p.Subnet)
	}
	peers := make([]udp.Peer, 0, len(subnets))
	for id, list := range subnets {
		slices.SortFunc(list, netip.Prefix.Compare)
		peers = append(peers, udp.Peer{Node: id.node, Endpoint: id.endpoint, Subnets: list})
	}
	slices.SortFunc(peers, func(a, b udp.Peer) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.Endpoint.Compare(b.Endpoint))
	})
	return peers
}

// group holds all that the tunnel is.
func (r *running) group() *reconciler.Group {
	g := &reconciler.Group{Name: "tunnel " + r.object.Device, Objects: []reconciler.Object{r.object}}
	for _, p := range r.peers {
		g.Objects = append(g.Objects, p)
	}
	slices.SortFunc(g.Objects[1:], func(a, b reconciler.Object) int { return cmp.Compare(a.String(), b.String()) })
	return g
}
