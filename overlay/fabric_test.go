package overlay

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// fabric is an in-memory network between transports:
//
//	node-1 ──┐
//	node-2 ──┼── fabric     split(groups): only within a group;
//	node-3 ──┘              noUDP: streams only
type fabric struct {
	mu     sync.Mutex
	nodes  map[netip.AddrPort]*wire
	groups map[netip.Addr]int
	noUDP  bool
}

func newFabric() *fabric {
	return &fabric{nodes: map[netip.AddrPort]*wire{}, groups: map[netip.Addr]int{}}
}

// split puts each address into a group; those of different groups do not
// hear each other. Addresses that are not named are in group 0.
func (f *fabric) split(groups map[netip.Addr]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.groups = groups
}

func (f *fabric) transport(bind netip.AddrPort) (memberlist.Transport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes[bind] != nil {
		return nil, fmt.Errorf("%s: %w", bind, syscall.EADDRINUSE)
	}
	w := &wire{fabric: f, addr: bind, packets: make(chan *memberlist.Packet, 4096), streams: make(chan net.Conn, 64), open: map[net.Conn]bool{}}
	f.nodes[bind] = w
	return w, nil
}

// reach gives the transport at an address; nil if nothing passes.
func (f *fabric) reach(from netip.Addr, to string) (w *wire, passes bool) {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[addr], f.groups[from] == f.groups[addr.Addr()]
}

// wire is one node's end of a fabric, a memberlist.Transport.
type wire struct {
	fabric  *fabric
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn

	mu   sync.Mutex
	open map[net.Conn]bool
	shut bool
}

func (w *wire) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return w.addr.Addr().AsSlice(), int(w.addr.Port()), nil
}

func (w *wire) WriteTo(b []byte, to string) (time.Time, error) {
	now := time.Now()
	other, passes := w.fabric.reach(w.addr.Addr(), to)
	if other == nil || !passes || w.fabric.noUDP {
		return now, nil // as UDP: gone
	}
	packet := &memberlist.Packet{Buf: append([]byte(nil), b...), From: net.UDPAddrFromAddrPort(w.addr), Timestamp: now}
	select {
	case other.packets <- packet:
	default:
	}
	return now, nil
}

func (w *wire) PacketCh() <-chan *memberlist.Packet { return w.packets }
func (w *wire) StreamCh() <-chan net.Conn           { return w.streams }

func (w *wire) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	other, passes := w.fabric.reach(w.addr.Addr(), to)
	if !passes {
		time.Sleep(min(timeout, 300*time.Millisecond)) // silence, shortened
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ETIMEDOUT)
	}
	if other == nil {
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	near, far := net.Pipe()
	if !w.keep(near) || !other.keep(far) {
		near.Close()
		far.Close()
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	select {
	case other.streams <- far:
		return near, nil
	case <-time.After(timeout):
		near.Close()
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ETIMEDOUT)
	}
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[c] = true
	return !w.shut
}

func (w *wire) Shutdown() error {
	w.fabric.mu.Lock()
	if w.fabric.nodes[w.addr] == w {
		delete(w.fabric.nodes, w.addr)
	}
	w.fabric.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = true
	for c := range w.open {
		c.Close()
	}
	return nil
}
