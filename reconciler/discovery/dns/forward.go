package dns

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
)

// Times that asking others takes. A client gets its answer within 5 s, which
// is when resolvers in C libraries ask again.
const (
	tryTime   = 2 * time.Second
	totalTime = 4500 * time.Millisecond
	stalePace = 1800 * time.Millisecond // then an answer that is out of date will do (RFC 8767)
)

// question is what others are asked.
type question struct {
	name   string // wire form, lower case
	kind   uint16
	extras byte // see query.extras
}

func (q *query) question() question { return question{string(q.name), q.kind, q.extras()} }

func questionAbout(name string, q question) question {
	return question{name, q.kind, q.extras}
}

func (q question) key() string {
	return q.name + string([]byte{byte(q.kind >> 8), byte(q.kind), q.extras})
}

// forwarder gets answers from upstreams: each question is asked once at a
// time, whoever waits for it.
type forwarder struct {
	clock     func() time.Duration
	log       *slog.Logger
	cache     *cache
	loops     *loops
	upstreams *upstreams
	// run starts a function that Run waits for; its context ends with Run.
	run func(func(context.Context))

	mu      sync.Mutex
	flights map[string]*flight
}

// flight is a question under way.
type flight struct {
	landed chan struct{}
	answer *entry // valid when landed
}

// resolve answers a question from the cache or by asking. The entry is out of
// date if nobody had an answer in time; stale says so. It is nil if there is
// none.
func (f *forwarder) resolve(ctx context.Context, q question) (e *entry, stale bool) {
	now := f.clock()
	old := f.cache.get([]byte(q.key()), now)
	switch {
	case old != nil && old.fresh(now):
		return old, false
	case old != nil && now < old.held:
		return old, true
	}
	flying := f.board(q)
	patience := totalTime
	if old != nil {
		patience = stalePace
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-flying.landed:
		if e := flying.answer; !e.failed {
			return e, false
		}
	case <-timer.C:
	case <-ctx.Done():
	}
	return old, old != nil
}

// board joins those who wait for the same question, or asks it.
func (f *forwarder) board(q question) *flight {
	key := q.key()
	f.mu.Lock()
	defer f.mu.Unlock()
	if flying := f.flights[key]; flying != nil {
		return flying
	}
	flying := &flight{landed: make(chan struct{})}
	f.flights[key] = flying
	f.run(func(ctx context.Context) {
		flying.answer = f.ask(ctx, q)
		f.keep(flying.answer)
		f.mu.Lock()
		delete(f.flights, key)
		f.mu.Unlock()
		close(flying.landed)
	})
	return flying
}

// keep puts an answer into the cache. That nobody had one does not replace
// what is there, but holds it.
func (f *forwarder) keep(e *entry) {
	if old := f.cache.get([]byte(e.key), e.stored); e.failed && old != nil && !old.failed {
		again := *old
		again.held = e.stored + staleHeld
		f.cache.put(&again)
	} else if e.expires > e.stored {
		f.cache.put(e)
	}
}

// ask asks upstreams one after the other; a lone one twice, in case that a
// datagram was lost. The result is never nil.
func (f *forwarder) ask(ctx context.Context, q question) *entry {
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	list := f.upstreams.choose(f.clock())
	if len(list) == 1 {
		list = append(list, list[0])
	}
	var useless *upstream // said that it cannot answer
	for _, u := range list {
		if u == useless || ctx.Err() != nil {
			continue
		}
		answer, err := u.ask(ctx, q, f.clock)
		if err == nil && (answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError) {
			var e *entry
			if e, err = newEntry(q, answer, f.clock()); err == nil {
				return e
			}
		}
		useless = u
		if err != nil {
			useless = nil
			f.log.Debug("upstream", "name", discovery.Text(q.name), "error", err)
		}
	}
	now := f.clock()
	return &entry{key: q.key(), rcode: servFail, stored: now, expires: now + failureTTL, failed: true}
}
