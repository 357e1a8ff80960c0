package udptest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/poplin-net/poplin/overlay/udp"
)

// Network is an underlay: datagrams go to whoever listens at their
// destination, or nowhere.
type Network struct {
	mu    sync.Mutex
	conns map[netip.AddrPort]*conn
}

// NewNetwork makes a network on which nobody listens.
func NewNetwork() *Network { return &Network{conns: map[netip.AddrPort]*conn{}} }

// Listen opens a connection at an address that nobody else has.
func (n *Network) Listen(local netip.AddrPort) (udp.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[local] != nil {
		return nil, fmt.Errorf("listen %s: %w", local, syscall.EADDRINUSE)
	}
	c := &conn{network: n, local: local, queue: make(chan udp.Datagram, queueLength), closed: make(chan struct{})}
	n.conns[local] = c
	return c, nil
}

// Send delivers a datagram whose source is claimed to be from, and reports
// whether anybody listens.
func (n *Network) Send(from, to netip.AddrPort, data []byte) bool {
	n.mu.Lock()
	c := n.conns[to]
	n.mu.Unlock()
	if c == nil {
		return false
	}
	select {
	case c.queue <- udp.Datagram{Data: slices.Clone(data), Addr: from}:
	case <-c.closed:
		return false
	}
	return true
}

// Listening reports whether somebody listens at the address.
func (n *Network) Listening(at netip.AddrPort) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns[at] != nil
}

// conn is a socket on a Network.
type conn struct {
	network *Network
	local   netip.AddrPort
	queue   chan udp.Datagram
	closed  chan struct{}
	close   sync.Once
}

var _ udp.Conn = (*conn)(nil)

func (c *conn) Local() netip.AddrPort { return c.local }

func (c *conn) Lanes() int { return 1 }

func (c *conn) Read(_ int, batch []udp.Datagram) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case d := <-c.queue:
		fill(&batch[0], d)
	}
	n := 1
	for n < len(batch) {
		select {
		case d := <-c.queue:
			fill(&batch[n], d)
			n++
		default:
			return n, nil
		}
	}
	return n, nil
}

// fill copies a datagram, cut to the capacity of the buffer.
func fill(to *udp.Datagram, d udp.Datagram) {
	to.Data = to.Data[:min(cap(to.Data), len(d.Data))]
	copy(to.Data, d.Data)
	to.Addr, to.Segment = d.Addr, 0
}

func (c *conn) Write(_ int, batch []udp.Datagram) (int, error) {
	for i, d := range batch {
		select {
		case <-c.closed:
			return i, net.ErrClosed
		default:
		}
		for _, segment := range udp.Segments(d) {
			// IPv4's limit: 65535 less the headers of IP and UDP.
			if len(segment) > 65507 {
				return i, syscall.EMSGSIZE
			}
			c.network.Send(c.local, d.Addr, segment)
		}
	}
	return len(batch), nil
}

func (c *conn) Close() error {
	c.close.Do(func() {
		close(c.closed)
		c.network.mu.Lock()
		delete(c.network.conns, c.local)
		c.network.mu.Unlock()
	})
	return nil
}
