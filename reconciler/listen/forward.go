package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of what is carried on.
const (
	// maxForwarded is how many connections there are at one time, of all
	// sockets: two descriptors each.
	maxForwarded = 2048
	// dialTimeout is how long a service may take to accept.
	dialTimeout = 10 * time.Second
	// acceptRest is the pause after a connection could not be accepted, as
	// when there are no descriptors.
	acceptRest = 100 * time.Millisecond
)

// forwardAll carries connections on until the listener is closed, and those
// that it has until they end or ctx does.
func (l *Listeners) forwardAll(ctx context.Context, at netip.AddrPort, listener net.Listener) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		c, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(acceptRest):
			}
			continue
		}
		client := c.(*net.TCPConn)
		select {
		case l.slots <- struct{}{}:
		default:
			reset(client)
			continue
		}
		running.Go(func() {
			defer func() { <-l.slots }()
			l.forward(ctx, at, client)
		})
	}
}

// forward carries one connection on. A client whose service cannot be reached
// is reset, as it would be by the service.
func (l *Listeners) forward(ctx context.Context, at netip.AddrPort, client *net.TCPConn) {
	s, ok := l.socket(at)
	if !ok {
		reset(client)
		return
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	c, err := dialer.DialContext(ctx, "tcp", s.Target.String())
	if err != nil {
		reset(client)
		return
	}
	service := c.(*net.TCPConn)
	stop := context.AfterFunc(ctx, func() { reset(client); reset(service) })
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { pipe(client, service) })
	pipe(service, client)
	back.Wait()
	client.Close()
	service.Close()
}

// pipe copies from one end to the other until the first has said all. Its end
// is passed on and leaves the other direction open; anything else ends both.
func pipe(to, from *net.TCPConn) {
	_, err := io.Copy(to, from) // in the kernel, by splice(2)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		reset(to)
		reset(from)
	}
}

// reset closes a connection in a way that its other end takes for a failure.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // closes all the same
	c.Close()
}
