// Package churntest makes connections to a service whose endpoints come and
// go, and says afterwards whether each of them reached an endpoint that was in
// at some time between its start and its end. The same load serves tests of
// the target and of the whole program.
package churntest

import (
	"context"
	"net"
	"sync"
	"time"
)

// timeout is how long a connection may take to be made, and how long the
// endpoint may take to say who it is.
const timeout = 5 * time.Second

// Load is what clients do, and what they saw. The exported fields are set
// before the first client starts.
type Load struct {
	Rate      int      // connections a second, of all clients together
	Clients   int      // that take part
	Addresses []string // ADDRESS:PORT of the service; clients have them in turns
	// Ask finds out over a connection which endpoint it has reached, and lets
	// that end close first. A connection that nobody closes in order, only the
	// client by a reset, may leave an entry in conntrack that takes the next
	// connection of the same port along, to where it went: when an
	// acknowledgement overtakes, or seems to overtake, the reset
	// (nf_conntrack_tcp_packet, Linux 6.18). Ports come again in seconds here.
	Ask func(net.Conn) (endpoint string, err error)

	mu    sync.Mutex
	stays map[string][]stay // by endpoint
	calls []call
}

// stay is a time in which an endpoint may get connections.
type stay struct{ from, to time.Time } // to is zero as long as it is in

// call is one connection.
type call struct {
	address     string
	start, made time.Time
	endpoint    string
	err         error
}

// Joins says that an endpoint may get connections from now on: it is called
// before the commit that brings it.
func (l *Load) Joins(endpoint string, from time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stays == nil {
		l.stays = map[string][]stay{}
	}
	l.stays[endpoint] = append(l.stays[endpoint], stay{from: from})
}

// Leaves says that an endpoint that has joined gets no connection that starts
// later than to, when the commit that takes it away was done.
func (l *Load) Leaves(endpoint string, to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.stays[endpoint]
	list[len(list)-1].to = to
}

// Client makes the connections of client k, in the network namespace of the
// thread that calls it, until ctx ends. One that is late hurries, so that the
// rate is right. It closes them with a reset, so that ports are free again at
// once.
func (l *Load) Client(ctx context.Context, k int) {
	pause := time.Duration(l.Clients) * time.Second / time.Duration(l.Rate)
	next := time.Now().Add(pause * time.Duration(k) / time.Duration(l.Clients))
	for ; ; next = next.Add(pause) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
		call := l.call(l.Addresses[k%len(l.Addresses)])
		l.mu.Lock()
		l.calls = append(l.calls, call)
		l.mu.Unlock()
	}
}

// call makes one connection.
func (l *Load) call(address string) call {
	x := call{address: address, start: time.Now()}
	// The dialer starts no thread of its own for an address and a single
	// family, so that its socket is of this thread's namespace.
	conn, err := net.DialTimeout("tcp", address, timeout)
	x.made = time.Now()
	if err != nil {
		x.err = err
		return x
	}
	if x.err = conn.SetDeadline(time.Now().Add(timeout)); x.err == nil {
		x.endpoint, x.err = l.Ask(conn)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
	return x
}
