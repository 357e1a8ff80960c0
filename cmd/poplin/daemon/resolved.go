package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// linkDNS is what systemd-resolved is to know of a link: that names below a
// domain are to be asked of these servers. The zero value: nothing.
type linkDNS struct {
	link    string
	servers []netip.Addr
	domain  string
}

func (l linkDNS) equal(o linkDNS) bool {
	return l.link == o.link && l.domain == o.domain && slices.Equal(l.servers, o.servers)
}

// bus is the part of systemd-resolved that is used. Links are named by their
// index.
type bus interface {
	// SetLinkDNS sets servers, and the domain as one that routes only: it is
	// no search domain, and other names are not asked of them.
	SetLinkDNS(ctx context.Context, index int, servers []netip.Addr, domain string) error
	RevertLink(ctx context.Context, index int) error
	// Starts tells that it was started again, and knows nothing, or that it
	// ended. It is closed with the connection.
	Starts() <-chan *dbus.Signal
	Close() error
}

// resolvedRetry is how soon it is looked for again where there is none, or
// where it refused.
const resolvedRetry = time.Minute

// resolved tells systemd-resolved of the node's DNS, so that programs of the
// host find names of the cluster too. Where it does not run, nothing happens:
// the host's own /etc/resolv.conf is never touched.
type resolved struct {
	connect func() (bus, error)
	log     *slog.Logger
	kick    chan struct{}

	mu     sync.Mutex
	wanted linkDNS

	// Of run's goroutine.
	conn   bus
	told   linkDNS
	index  int // of the link that it was told of; 0: none
	logged string
}

func newResolved(connect func() (bus, error), log *slog.Logger) *resolved {
	return &resolved{connect: connect, log: log, kick: make(chan struct{}, 1)}
}

// want sets what it is to know. It is called after each round, for a link
// that was made anew has another index.
func (r *resolved) want(l linkDNS) {
	r.mu.Lock()
	r.wanted = l
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// run tells until ctx ends. What it told stays, as the data plane does.
func (r *resolved) run(ctx context.Context) error {
	retry := time.NewTicker(resolvedRetry)
	defer retry.Stop()
	defer func() {
		if r.conn != nil {
			_ = r.conn.Close() // nothing is under way
		}
	}()
	again := true // false after a failure, until it is time to try again
	for {
		var starts <-chan *dbus.Signal
		if r.conn != nil {
			starts = r.conn.Starts()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C:
			again = true
		case _, open := <-starts:
			if !open {
				_ = r.conn.Close() // the bus is gone
				r.conn = nil
			}
			r.told, r.index, again = linkDNS{}, 0, true
		case <-r.kick:
		}
		if !again {
			continue
		}
		if err := r.tell(ctx); err != nil {
			again = false
			if text := err.Error(); text != r.logged && ctx.Err() == nil {
				r.logged = text
				r.log.Debug("systemd-resolved is not told of DNS", "error", err)
			}
		}
	}
}

// tell brings systemd-resolved in step with what is wanted.
func (r *resolved) tell(ctx context.Context) error {
	r.mu.Lock()
	want := r.wanted
	r.mu.Unlock()
	index := 0
	if want.link != "" {
		link, err := net.InterfaceByName(want.link)
		if err != nil {
			return nil // the next round makes it
		}
		index = link.Index
	}
	if want.equal(r.told) && index == r.index {
		return nil
	}
	if r.conn == nil {
		conn, err := r.connect()
		if err != nil {
			return err
		}
		r.conn = conn
	}
	if want.link == "" {
		index, r.index = r.index, 0
		r.told = want
		return r.conn.RevertLink(ctx, index)
	}
	if err := r.conn.SetLinkDNS(ctx, index, want.servers, want.domain); err != nil {
		return fmt.Errorf("link %s: %w", want.link, err)
	}
	r.told, r.index = want, index
	r.log.Info("systemd-resolved asks DNS about the cluster", "domain", want.domain, "link", want.link)
	return nil
}
