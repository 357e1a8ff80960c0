package dns

import (
	"context"

	"github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
)

// greatestChain is how many names of ours may follow each other as aliases.
const greatestChain = 8

// alias answers a question about a name of ours that stands for another
// (type ExternalName): the alias, and what there is behind it.
func (w *worker) alias(ctx context.Context, table *discovery.Table, r discovery.Result) (*dns.Msg, error) {
	q := w.query.question()
	m := new(dns.Msg)
	m.Question = []dns.Question{{Name: discovery.Text(q.name), Qtype: q.kind, Qclass: dns.ClassINET}}
	m.Authoritative = true
	for range greatestChain {
		m.Answer = append(m.Answer, unpack(q.name, r.Set)...)
		q = questionAbout(r.Set.Target(), q)
		r = table.Lookup([]byte(q.name), q.kind)
		switch r.Outcome {
		case discovery.Outside:
			return m, w.beyond(ctx, m, q)
		case discovery.Answer:
			m.Answer = append(m.Answer, unpack(q.name, r.Set)...)
			return m, nil
		case discovery.NoName, discovery.NoData:
			if r.Outcome == discovery.NoName {
				m.Rcode = dns.RcodeNameError
			}
			// The apex is the end of the name.
			soa := table.Lookup([]byte(q.name[len(q.name)-r.Zone:]), discovery.TypeSOA)
			m.Ns = unpack(q.name[len(q.name)-r.Zone:], soa.Set)
			return m, nil
		}
	}
	m.Answer, m.Rcode = nil, dns.RcodeServerFailure // round and round
	return m, nil
}

// beyond adds what others say of the name that an alias stands for.
func (w *worker) beyond(ctx context.Context, m *dns.Msg, q question) error {
	e, stale := w.forward.resolve(ctx, q)
	if e == nil || e.failed {
		m.Answer, m.Rcode = nil, dns.RcodeServerFailure
		return nil
	}
	w.countAnswer(stale)
	answer, err := e.message(q, w.clock())
	if err != nil {
		return err
	}
	m.Rcode = answer.Rcode
	m.Answer = append(m.Answer, answer.Answer...)
	m.Ns = answer.Ns
	return nil
}

// unpack reads the records of a set as those of a name.
func unpack(name string, set *discovery.Set) []dns.RR {
	b := []byte{0, 0, flagResponse >> 8, 0, 0, 1, byte(set.Count >> 8), byte(set.Count), 0, 0, 0, 0}
	b = append(append(b, name...), 0, byte(discovery.TypeANY), 0, classIN)
	var m dns.Msg
	if m.Unpack(append(b, set.Answers...)) != nil {
		return nil // what we packed ourselves
	}
	return m.Answer
}

// pack makes an answer of a message, in the case that was asked in.
func (q *query) pack(m *dns.Msg, limit int) ([]byte, error) {
	if q.edns {
		limit -= optionSize
	}
	m.Compress = true
	m.Response, m.Id = true, q.id
	m.RecursionAvailable, m.RecursionDesired = true, q.flags&flagRecursion != 0
	m.CheckingDisabled = q.flags&flagUnchecked != 0
	m.Truncate(limit)
	b, err := m.Pack()
	if err != nil {
		return nil, err
	}
	copy(b[headerSize:], q.asked)
	return q.finish(b, m.Rcode), nil
}
