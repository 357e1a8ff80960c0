package dns

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Times of a TCP connection (RFC 7766 6.2.3 asks for a few seconds).
const (
	idleTime  = 10 * time.Second // without a query
	readTime  = 4 * time.Second  // from the start of a query to its end
	writeTime = 4 * time.Second  // of an answer
)

// pipelined is how many queries of one connection may wait for others.
const pipelined = 32

// connections are the TCP connections that are open.
type connections struct {
	tally *tally
	mu    sync.Mutex
	open  map[*connection]bool
	shut  bool
}

func newConnections() *connections {
	return &connections{tally: newTally(), open: map[*connection]bool{}}
}

func (c *connections) limit(all, each int) { c.tally.limit(all, each) }
func (c *connections) count() int          { return c.tally.count() }

// connection is one of a client.
type connection struct {
	net    net.Conn
	in     *bufio.Reader // of net
	client netip.Addr
	server netip.Addr

	writing sync.Mutex
	waiting sync.WaitGroup // for answers of others
	slots   chan struct{}

	mu    sync.Mutex
	since time.Time // it last began to wait for a query
}

// enter counts a connection, in place of the one that is idle for longest if
// there are too many of all clients. It reports false if the client has too
// many of its own.
func (c *connections) enter(one *connection) bool {
	for range 2 {
		if c.tally.enter(one.client) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.open[one] = true
			if c.shut {
				one.net.Close()
			}
			return true
		}
		if !c.evict(one.client) {
			return false
		}
	}
	return false
}

// evict closes the connection that is idle for longest, and reports whether
// that makes room for this client.
func (c *connections) evict(client netip.Addr) bool {
	c.tally.mu.Lock()
	own := c.tally.clients[client] >= c.tally.each
	c.tally.mu.Unlock()
	if own {
		return false
	}
	c.mu.Lock()
	var oldest *connection
	for one := range c.open {
		if oldest == nil || one.waits().Before(oldest.waits()) {
			oldest = one
		}
	}
	c.mu.Unlock()
	if oldest == nil {
		return false
	}
	oldest.net.Close()
	c.leave(oldest)
	return true
}

func (c *connections) leave(one *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[one] {
		delete(c.open, one)
		c.tally.leave(one.client)
	}
}

func (c *connections) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	for one := range c.open {
		one.net.Close()
	}
}

func (c *connection) waits() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since
}

// serveConnections accepts until the listener is closed.
func (s *Server) serveConnections(l *net.TCPListener) {
	for {
		accepted, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Debug("DNS connection", "error", err)
			time.Sleep(10 * time.Millisecond) // out of files: some will be closed
			continue
		}
		one := &connection{
			net:    accepted,
			in:     bufio.NewReaderSize(accepted, 2+querySize),
			client: accepted.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap(),
			server: accepted.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap(),
			slots:  make(chan struct{}, pipelined), since: time.Now(),
		}
		if one.client != one.server && !s.access.Load().allowed(one.client) || !s.connections.enter(one) {
			s.counters[len(s.counters)-1].strangers.Add(1)
			accepted.Close()
			continue
		}
		s.group.Go(func() {
			s.serveConnection(one)
			accepted.Close()
			s.connections.leave(one)
		})
	}
}

// serveConnection answers the queries of one connection, in the order in
// which answers are there (RFC 7766 7), until the client is silent for too
// long, or slow.
func (s *Server) serveConnection(c *connection) {
	w := s.newWorker()
	in, out := make([]byte, querySize), make([]byte, 0, querySize)
	for {
		data, err := c.read(in)
		if err != nil {
			break
		}
		w.count.tcp.Add(1)
		p := packet{data: data, client: c.client, server: c.server, tcp: true}
		reply, pending := w.handle(out[:0], p)
		if pending {
			c.later(w, p)
			continue
		}
		if reply == nil || c.write(reply) != nil {
			break
		}
		out = reply
	}
	c.waiting.Wait()
}

// read reads one query. Its length goes before it.
func (c *connection) read(buffer []byte) ([]byte, error) {
	c.mu.Lock()
	c.since = time.Now()
	c.mu.Unlock()
	if err := c.net.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.in, buffer[:1]); err != nil {
		return nil, err
	}
	if err := c.net.SetReadDeadline(time.Now().Add(readTime)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.in, buffer[1:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buffer))
	if n > len(buffer) {
		return nil, io.ErrShortBuffer
	}
	_, err := io.ReadFull(c.in, buffer[:n])
	return buffer[:n], err
}

// later answers a query beside the others.
func (c *connection) later(w *worker, p packet) {
	c.slots <- struct{}{} // waits if the client has too many under way
	c.waiting.Add(1)
	done := func() {
		<-c.slots
		c.waiting.Done()
	}
	p.data = append([]byte(nil), p.data...)
	w.later(p, func(reply []byte) {
		defer done()
		if c.write(reply) != nil {
			c.net.Close()
		}
	}, func() {
		defer done()
		if c.write(w.refuse(nil, servFail)) != nil {
			c.net.Close()
		}
	})
}

func (c *connection) write(reply []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.net.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	framed := append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(reply)), uint16(len(reply))), reply...)
	_, err := c.net.Write(framed)
	return err
}
