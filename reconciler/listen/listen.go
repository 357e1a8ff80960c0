// Package listen keeps the sockets on which the daemon itself answers for
// services, where the kernel cannot: the health checks that outer load
// balancers ask (healthcheck.go) and node ports on localhost (forward.go). For
// the latter the kernel's way would be route_localnet, which opens every
// service that listens on 127.0.0.1 to the network (CVE-2020-8558).
//
// Which sockets there are is decided in reconciler/services. They follow it
// without a restart: only those that come or go are opened or closed, and what
// is answered is looked up for each request. One whose port somebody else has
// is a problem in status and tried again.
package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Socket is a TCP socket that is wanted. It has a HealthCheck or a Target.
type Socket struct {
	At netip.AddrPort
	// Within are the local addresses on which it answers; none: any. It counts
	// for sockets on all addresses.
	Within []netip.Prefix
	// Service is whose socket it is, as namespace/name.
	Service     string
	HealthCheck *HealthCheck
	// Target is where connections are carried on to.
	Target netip.AddrPort
}

// Problem is a socket that is wanted and not there.
type Problem struct {
	Socket Socket
	Err    error
}

// retry is how long a socket is left alone that could not be opened.
const retry = 3 * time.Second

// Listeners are the sockets. Its methods can be used by any goroutine.
type Listeners struct {
	log   *slog.Logger
	poke  chan struct{}
	slots chan struct{} // of connections that are carried on

	mu     sync.Mutex
	wanted map[netip.AddrPort]Socket
	failed map[netip.AddrPort]error
}

// New makes Listeners without sockets. It starts nothing.
func New(log *slog.Logger) *Listeners {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Listeners{
		log: log, poke: make(chan struct{}, 1), slots: make(chan struct{}, maxForwarded),
		wanted: map[netip.AddrPort]Socket{}, failed: map[netip.AddrPort]error{},
	}
}

// Want says which sockets there are to be.
func (l *Listeners) Want(sockets []Socket) {
	l.mu.Lock()
	changed := len(sockets) != len(l.wanted)
	wanted := make(map[netip.AddrPort]Socket, len(sockets))
	for _, s := range sockets {
		if _, there := l.wanted[s.At]; !there {
			changed = true
		}
		wanted[s.At] = s
	}
	l.wanted = wanted
	l.mu.Unlock()
	if changed {
		select {
		case l.poke <- struct{}{}:
		default:
		}
	}
}

// Problems are the sockets that are not there, in the order of their addresses.
func (l *Listeners) Problems() []Problem {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Problem
	for at, err := range l.failed {
		if s, wanted := l.wanted[at]; wanted {
			out = append(out, Problem{s, err})
		}
	}
	slices.SortFunc(out, func(a, b Problem) int { return a.Socket.At.Compare(b.Socket.At) })
	return out
}

// socket is what is wanted at an address now.
func (l *Listeners) socket(at netip.AddrPort) (Socket, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.wanted[at]
	return s, ok
}

// Run keeps the sockets until ctx ends, and then closes them with all of their
// connections.
func (l *Listeners) Run(ctx context.Context) error {
	open := map[netip.AddrPort]net.Listener{}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer func() {
		for _, listener := range open {
			listener.Close()
		}
	}()
	for {
		failed := l.follow(ctx, open, &tasks)
		pause := time.NewTimer(retry)
		if !failed {
			pause.Stop()
		}
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-l.poke:
		case <-pause.C:
		}
		pause.Stop()
	}
}

// follow opens what is missing and closes what is not wanted. It reports
// whether one could not be opened.
func (l *Listeners) follow(ctx context.Context, open map[netip.AddrPort]net.Listener, tasks *sync.WaitGroup) bool {
	l.mu.Lock()
	var missing []Socket
	for at, s := range l.wanted {
		if open[at] == nil {
			missing = append(missing, s)
		}
	}
	var gone []net.Listener
	for at, listener := range open {
		if _, wanted := l.wanted[at]; !wanted {
			gone = append(gone, listener)
			delete(open, at)
		}
	}
	l.mu.Unlock()
	for _, listener := range gone {
		listener.Close()
	}
	slices.SortFunc(missing, func(a, b Socket) int { return a.At.Compare(b.At) })
	failed := map[netip.AddrPort]error{}
	for _, s := range missing {
		listener, err := listenAt(ctx, s.At)
		if err != nil {
			failed[s.At] = err
			continue
		}
		open[s.At] = listener
		tasks.Go(func() { l.serve(ctx, s, listener) })
	}
	l.note(failed)
	return len(failed) > 0
}

// note keeps and logs failures that are news.
func (l *Listeners) note(failed map[netip.AddrPort]error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, err := range failed {
		switch {
		case needless(at, err):
			delete(failed, at)
		case l.failed[at] == nil:
			l.log.Warn("a port of a service cannot be opened", "address", at, "service", l.wanted[at].Service, "error", err)
		}
	}
	l.failed = failed
}

// needless reports whether nothing is missing without a socket: a host
// without IPv6 has no ::1.
func needless(at netip.AddrPort, err error) bool {
	return at.Addr() == netip.IPv6Loopback() && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT))
}

func listenAt(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	network := "tcp4"
	if at.Addr().Is6() {
		network = "tcp6" // without IPv4 on all addresses
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, at.String())
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return listener, nil
}

// serve answers on a socket until it is closed.
func (l *Listeners) serve(ctx context.Context, s Socket, listener net.Listener) {
	if s.HealthCheck != nil {
		l.serveHealthCheck(ctx, s.At, listener)
		return
	}
	l.forwardAll(ctx, s.At, listener)
}
