package dns

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
)

// An upstream is down after so many questions in a row without an answer.
// Then a question of our own looks from time to time whether it is back: no
// client waits for one that is down, as long as another is up.
const (
	failuresDown = 2
	firstRetry   = 2 * time.Second
	lastRetry    = 30 * time.Second
	loopRetry    = time.Minute // looks whether a loop is gone
)

// greatestUpstreams is how many are used of those that there are, as in C
// libraries.
const greatestUpstreams = 3

// upstream is a resolver that we ask.
type upstream struct {
	address netip.AddrPort

	queries, failures atomic.Uint64

	mu      sync.Mutex
	missed  int           // answers in a row
	pause   time.Duration // between looks whether it is back
	next    time.Duration // when to look, on the server's clock
	looks   bool          // somebody is at it
	loops   bool          // our questions come back to us
	checked bool          // whether it loops was found out, or is being
	latency time.Duration // a moving average
	plain   bool          // it does not know EDNS
}

// upstreams are those that are used now.
type upstreams struct {
	run   func(func(context.Context))
	loops *loops

	mu      sync.Mutex
	source  source
	own     []netip.AddrPort // where we listen ourselves
	list    []*upstream
	problem string
}

// choose lists the upstreams in the order in which to ask them: as they were
// given, those that are down at the end, those that loop not at all.
func (u *upstreams) choose(now time.Duration) []*upstream {
	list := u.current(now)
	var up, down []*upstream
	for _, one := range list {
		one.mu.Lock()
		look := one.due(now)
		switch {
		case one.loops:
		case one.missed < failuresDown:
			up = append(up, one)
		default:
			down = append(down, one)
		}
		one.mu.Unlock()
		if look {
			u.run(func(ctx context.Context) { u.loops.look(ctx, one) })
		}
	}
	return append(up, down...)
}

// due reports whether it is time to look how the upstream is, and notes that
// somebody does.
func (u *upstream) due(now time.Duration) bool {
	wanted := !u.checked || (u.loops || u.missed >= failuresDown) && now >= u.next
	if !wanted || u.looks {
		return false
	}
	u.looks, u.checked = true, true
	return true
}

// current follows the source.
func (u *upstreams) current(now time.Duration) []*upstream {
	u.mu.Lock()
	defer u.mu.Unlock()
	addresses, changed, problem := u.source.read(now)
	if !changed {
		return u.list
	}
	u.problem = problem
	var list []*upstream
	for _, a := range addresses {
		if slices.Contains(u.own, a) || len(list) == greatestUpstreams {
			continue
		}
		i := slices.IndexFunc(u.list, func(one *upstream) bool { return one.address == a })
		if i >= 0 {
			list = append(list, u.list[i])
		} else {
			list = append(list, &upstream{address: a})
		}
	}
	if len(list) == 0 && problem == "" {
		u.problem = "DNS has no upstream for names outside of the cluster"
	}
	u.list = list
	return list
}

// configure sets where the upstreams come from.
func (u *upstreams) configure(s Settings) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.source.same(s) || !slices.Equal(u.own, s.Addresses) {
		u.source, u.own = newSource(s), slices.Clone(s.Addresses)
	}
	for _, one := range u.list {
		one.mu.Lock()
		one.checked = false // listening somewhere else may have closed a loop
		one.mu.Unlock()
	}
}

// ask asks one question, over TCP if the answer does not fit into UDP. The
// error says why there is none; an answer may be one that is of no use.
func (u *upstream) ask(ctx context.Context, q question, clock func() time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	u.queries.Add(1)
	u.mu.Lock()
	plain := u.plain
	u.mu.Unlock()
	start := clock()
	answer, err := exchange(ctx, u.address, newMessage(q, plain))
	if err == nil && !plain && (answer.Rcode == dns.RcodeFormatError || answer.Rcode == dns.RcodeNotImplemented) {
		if again, err := exchange(ctx, u.address, newMessage(q, true)); err == nil && again.Rcode != answer.Rcode {
			answer, plain = again, true
		}
	}
	now := clock()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.plain = plain
	if err != nil {
		u.failures.Add(1)
		u.miss(now)
		return nil, err
	}
	u.missed, u.pause = 0, 0
	u.latency += (now - start - u.latency) / 8
	return answer, nil
}

// miss notes that there was no answer.
func (u *upstream) miss(now time.Duration) {
	u.missed++
	if u.missed < failuresDown {
		return
	}
	if now >= u.next {
		u.pause = min(max(2*u.pause, firstRetry), lastRetry)
		u.next = now + u.pause
	}
}

// newMessage makes the message that asks a question.
func newMessage(q question, plain bool) *dns.Msg {
	m := new(dns.Msg)
	m.Question = []dns.Question{{Name: discovery.Text(q.name), Qtype: q.kind, Qclass: dns.ClassINET}}
	m.RecursionDesired = true
	m.CheckingDisabled = q.extras&2 != 0
	if !plain {
		m.SetEdns0(preferredSize, q.extras&1 != 0)
	}
	return m
}

// states are what an upstream is, for status.
func (u *upstream) state() UpstreamStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := UpstreamStats{Address: u.address, State: "up", Queries: u.queries.Load(), Failures: u.failures.Load(), Latency: u.latency}
	switch {
	case u.loops:
		out.State = "loops"
	case u.missed >= failuresDown:
		out.State = "down"
	}
	return out
}

func (f *forwarder) stats() []UpstreamStats {
	f.upstreams.mu.Lock()
	defer f.upstreams.mu.Unlock()
	out := make([]UpstreamStats, 0, len(f.upstreams.list))
	for _, u := range f.upstreams.list {
		out = append(out, u.state())
	}
	return out
}

func (f *forwarder) problems() []string {
	var out []string
	f.upstreams.mu.Lock()
	if f.upstreams.problem != "" {
		out = append(out, f.upstreams.problem)
	}
	f.upstreams.mu.Unlock()
	for _, u := range f.stats() {
		switch u.State {
		case "loops":
			out = append(out, "upstream "+u.Address.String()+" asks us what we ask it: it is not used")
		case "down":
			out = append(out, "upstream "+u.Address.String()+" does not answer")
		}
	}
	return out
}
