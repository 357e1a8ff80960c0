//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Connections is what one run of the generator saw.
type Connections struct {
	Rate float64 `json:"rate"` // connections made per second
	// First is the median time of a connection's handshake in microseconds,
	// one connection at a time: the first packet's way there and back.
	First float64 `json:"first"`
}

const (
	handshakes = 100 // one after another
	workers    = 8   // at a time
)

// Connect makes connections to an address, and closes each at once: some one
// after another, then several at a time for a while. Connections are closed
// by a reset, so that no port waits. The process stays on one processor.
func Connect(ctx context.Context, address string, while time.Duration) (Connections, error) {
	if err := pin(true); err != nil {
		return Connections{}, err
	}
	var times []float64
	for range handshakes {
		started := time.Now()
		if err := connect(ctx, address); err != nil {
			return Connections{}, err
		}
		times = append(times, float64(time.Since(started))/float64(time.Microsecond))
	}
	var made atomic.Int64
	var failure atomic.Pointer[error]
	var running sync.WaitGroup
	started := time.Now()
	for range workers {
		running.Go(func() {
			for time.Since(started) < while && failure.Load() == nil {
				if err := connect(ctx, address); err != nil {
					failure.Store(&err)
					return
				}
				made.Add(1)
			}
		})
	}
	running.Wait()
	if err := failure.Load(); err != nil {
		return Connections{}, *err
	}
	return Connections{Rate: float64(made.Load()) / time.Since(started).Seconds(), First: quantile(times, 0.5)}, nil
}

func connect(ctx context.Context, address string) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close())
}

// Serve accepts connections until ctx ends, and closes each when its client
// does. The process stays on one processor, another than Connect's if there is
// one.
func Serve(ctx context.Context, address string) error {
	if err := pin(false); err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		serving.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			_, _ = conn.Read(make([]byte, 1)) // until the client resets it
		})
	}
}
