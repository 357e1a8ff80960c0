package dns

import (
	"net/netip"

	"github.com/poplin-net/poplin/reconciler/discovery"
)

// packet is a message from a client.
type packet struct {
	data   []byte
	client netip.Addr
	server netip.Addr // the address that was asked
	tcp    bool
}

// worker answers one packet at a time. It has all that it needs for that.
type worker struct {
	*Server
	count *counters
	turn  uint32 // of addresses, see discovery.Set.Append
	query query
}

// handle appends the answer to a packet. Without one, the packet gets none;
// or, if pending is true, it takes asking others, which is not done here.
func (w *worker) handle(b []byte, p packet) (reply []byte, pending bool) {
	q := &w.query
	seen := q.parse(p.data)
	if seen == dropped {
		w.count.dropped.Add(1)
		return nil, false
	}
	access := w.access.Load()
	switch {
	case p.client != p.server && !access.allowed(p.client):
		w.count.strangers.Add(1)
		return w.refuse(b, refused), false
	case access.limiter != nil && !access.limiter.take(p.client):
		w.count.limited.Add(1)
		return nil, false
	}
	w.count.kinds[kindIndex(q.kind)].Add(1)
	switch {
	case seen == malformed:
		return w.refuse(b, formErr), false
	case seen == unknown:
		return w.refuse(b, notImp), false
	case q.version > 0:
		return w.refuse(b, badVers), false
	case q.class != classIN, q.kind == typeAXFR, q.kind == typeIXFR:
		return w.refuse(b, refused), false
	case q.kind == typeOPT, q.kind == 0:
		return w.refuse(b, formErr), false
	case q.kind >= typeTKEY && q.kind < discovery.TypeANY:
		return w.refuse(b, notImp), false
	case q.kind == discovery.TypeHINFO && w.forward.loops.met(q.name): // also before there is a zone
		return w.refuse(b, servFail), false
	}
	table := w.zone.Table()
	if table == nil {
		return w.refuse(b, servFail), false
	}
	limit := greatestTCP
	if !p.tcp {
		limit = q.size
	}
	r := table.Lookup(q.name, q.kind)
	switch r.Outcome {
	case discovery.Outside:
		return w.outside(b, table, limit)
	case discovery.Alias:
		if q.flags&flagRecursion != 0 {
			return nil, true
		}
	}
	w.count.zone.Add(1)
	return w.ours(b, table, r, limit), false
}

// refuse makes an answer that is a code and no more.
func (w *worker) refuse(b []byte, rcode int) []byte {
	w.count.rcode(rcode)
	return w.query.plain(b, rcode)
}

// ours makes the answer to a question about our zones.
func (w *worker) ours(b []byte, table *discovery.Table, r discovery.Result, limit int) []byte {
	q := &w.query
	rcode := noError
	if r.Outcome == discovery.NoName {
		rcode = nxDomain
	}
	w.count.rcode(rcode)
	b = q.header(b, flagAuthoritative, rcode)
	if r.Set == nil {
		b = table.AppendAuthority(b, len(q.name), r.Zone)
		addCount(b, authorityCount, 1)
		return q.finish(b, rcode)
	}
	return q.finish(w.records(b, r.Set, limit), rcode)
}

// records appends a set to an answer, as much of it as fits.
func (w *worker) records(b []byte, set *discovery.Set, limit int) []byte {
	if w.query.edns {
		limit -= optionSize
	}
	w.turn++
	b, n := set.Append(b, limit, w.turn)
	addCount(b, answerCount, n)
	switch {
	case n < int(set.Count):
		truncate(b)
	case len(b)+len(set.Extra) <= limit:
		b = append(b, set.Extra...)
		addCount(b, additionalCount, int(set.Additional))
	}
	return b
}

// outside answers what is not about our zones, if the cache knows it.
func (w *worker) outside(b []byte, table *discovery.Table, limit int) ([]byte, bool) {
	q := &w.query
	switch {
	case q.flags&flagRecursion == 0:
		return w.refuse(b, refused), false
	case q.kind == discovery.TypeANY:
		w.count.rcode(noError)
		return q.finish(w.records(q.header(b, 0, noError), table.Any(), limit), noError), false
	}
	now := w.clock()
	e := w.forward.cache.get(q.key(), now)
	if e == nil || !e.fresh(now) {
		return nil, true
	}
	w.count.cached.Add(1)
	w.count.rcode(int(e.rcode))
	return e.reply(b, q, limit, now), false
}
