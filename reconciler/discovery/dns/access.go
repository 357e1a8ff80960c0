package dns

import (
	"net/netip"
	"sync"
	"time"

	"github.com/gaissmai/bart"
)

// access says who may ask, and how much. It is replaced as a whole.
type access struct {
	clients bart.Lite
	limiter *limiter // nil: no limit
}

func newAccess(s Settings) *access {
	a := &access{}
	for _, p := range s.Allowed {
		a.clients.Insert(p.Masked())
	}
	if s.Rate > 0 {
		a.limiter = newLimiter(s.Rate)
	}
	return a
}

// allowed reports whether a client may ask. This host always may, by its
// loopback addresses; a packet that came from elsewhere cannot have them.
func (a *access) allowed(client netip.Addr) bool {
	return client.IsLoopback() || a.clients.Contains(client)
}

// limiter lets every client have as many queries a second as it is set to,
// and as many at once.
type limiter struct {
	rate   float64
	start  time.Time
	shards [16]struct {
		sync.Mutex
		clients map[netip.Addr]allowance
	}
}

// allowance is what a client had left at a time, in seconds from the start.
type allowance struct{ left, at float64 }

// limiterClients bounds the clients that are remembered in each shard.
const limiterClients = 4096

func newLimiter(rate int) *limiter {
	l := &limiter{rate: float64(rate), start: time.Now()}
	for i := range l.shards {
		l.shards[i].clients = map[netip.Addr]allowance{}
	}
	return l
}

// take reports whether a client has a query left, and takes it.
func (l *limiter) take(client netip.Addr) bool {
	return l.takeAt(client, time.Since(l.start).Seconds())
}

func (l *limiter) takeAt(client netip.Addr, now float64) bool {
	bytes := client.As16()
	s := &l.shards[(bytes[15]^bytes[14])%16]
	s.Lock()
	defer s.Unlock()
	a, known := s.clients[client]
	if !known {
		if len(s.clients) >= limiterClients {
			l.forget(s.clients, now)
		}
		a = allowance{l.rate, now}
	}
	a.left = min(a.left+(now-a.at)*l.rate, l.rate)
	a.at = now
	ok := a.left >= 1
	if ok {
		a.left--
	}
	s.clients[client] = a
	return ok
}

// forget drops the clients that have all their queries left, and of the
// others enough that it is not called again soon.
func (l *limiter) forget(clients map[netip.Addr]allowance, now float64) {
	for c, a := range clients {
		if a.left+(now-a.at)*l.rate >= l.rate {
			delete(clients, c)
		}
	}
	for c := range clients {
		if len(clients) < limiterClients*3/4 {
			break
		}
		delete(clients, c)
	}
}
