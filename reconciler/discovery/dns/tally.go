package dns

import (
	"net/netip"
	"sync"
)

// tally counts what clients have under way, in total and each.
type tally struct {
	mu        sync.Mutex
	total     int
	clients   map[netip.Addr]int
	all, each int // limits
}

func newTally() *tally { return &tally{clients: map[netip.Addr]int{}} }

func (t *tally) limit(all, each int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all, t.each = all, each
}

// enter reports whether a client may have one more, and counts it.
func (t *tally) enter(client netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.total >= t.all || t.clients[client] >= t.each {
		return false
	}
	t.total++
	t.clients[client]++
	return true
}

// leave takes back what enter has counted.
func (t *tally) leave(client netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total--
	if t.clients[client]--; t.clients[client] == 0 {
		delete(t.clients, client)
	}
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}
