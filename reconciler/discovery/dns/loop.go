package dns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
)

// loops finds upstreams that send our own questions back to us: each is asked
// for a name that nobody else asks for, and if we are asked for that name
// meanwhile, it does. The type is HINFO, which no cache has an opinion on.
//
// A loop cannot become a storm in any case: the question that comes back is
// the same as one under way, and waits for it.
type loops struct {
	clock func() time.Duration

	some  atomic.Int32 // names that are out
	mu    sync.Mutex
	names map[string]*upstream
}

// met notes that we were asked for a name, and reports whether it was one of
// ours.
func (l *loops) met(name []byte) bool {
	if l.some.Load() == 0 {
		return false
	}
	l.mu.Lock()
	u := l.names[string(name)]
	l.mu.Unlock()
	if u == nil {
		return false
	}
	u.mu.Lock()
	u.loops = true
	u.mu.Unlock()
	return true
}

// look finds out whether an upstream loops, and whether one that is down is
// back.
func (l *loops) look(ctx context.Context, u *upstream) {
	name := discovery.Wire(fmt.Sprintf("%016x.%016x", rand.Uint64(), rand.Uint64()))
	u.mu.Lock()
	before := u.loops
	u.loops = false
	u.mu.Unlock()
	l.note(name, u)
	err := u.probe(ctx, newMessage(question{name: name, kind: discovery.TypeHINFO}, true))
	l.note(name, nil)
	silent := err != nil
	if silent && u.isDown() {
		// Where the roots cannot be reached, nobody can say that there is no such
		// name. What an upstream knows without asking, it can always say.
		m := newMessage(question{name: "\x00", kind: discovery.TypeNS}, true)
		m.RecursionDesired = false
		silent = u.probe(ctx, m) != nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.looks = false
	switch {
	case !silent:
		u.missed, u.pause = 0, 0
	case u.missed >= failuresDown:
		u.miss(l.clock())
	}
	u.loops = u.loops || err != nil && before // it did not say otherwise
	if u.loops {
		u.next = l.clock() + loopRetry
	}
}

// probe asks what no client waits for, and reports whether there is an answer
// of any kind.
func (u *upstream) probe(ctx context.Context, m *dns.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	_, err := exchange(ctx, u.address, m)
	return err
}

func (u *upstream) isDown() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.missed >= failuresDown
}

// note says whose a name is, nil for nobody's.
func (l *loops) note(name string, u *upstream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u == nil {
		delete(l.names, name)
	} else {
		l.names[name] = u
	}
	l.some.Store(int32(len(l.names)))
}
