package dns

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
)

var errBroken = errors.New("broken message")

// newEntry keeps an answer of an upstream to a question.
func newEntry(q question, m *dns.Msg, now time.Duration) (*entry, error) {
	e := &entry{key: q.key(), rcode: uint8(m.Rcode), stored: now, expires: now + lifetime(m)}
	if m.AuthenticatedData {
		e.flags = flagAuthentic
	}
	copied := *m
	copied.Extra = slices.DeleteFunc(slices.Clone(m.Extra), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	copied.Question = []dns.Question{{Name: discovery.Text(q.name), Qtype: q.kind, Qclass: dns.ClassINET}}
	copied.Compress = true
	wire, err := copied.Pack()
	if err != nil {
		return nil, err
	}
	start := headerSize + len(q.name) + 4
	if len(wire) < start {
		return nil, errBroken
	}
	e.body = slices.Clip(wire[start:])
	for i, n := range []int{len(copied.Answer), len(copied.Ns), len(copied.Extra)} {
		e.count[i] = uint16(n)
	}
	return e, e.findTTLs(wire, start)
}

// findTTLs notes where the body has TTLs.
func (e *entry) findTTLs(wire []byte, start int) error {
	for at := start; at < len(wire); {
		if at = skipName(wire, at); at < 0 || at+10 > len(wire) {
			return errBroken
		}
		e.ttls = append(e.ttls, at+4-start)
		at += 10 + int(binary.BigEndian.Uint16(wire[at+8:]))
	}
	return nil
}

// lifetime is how long an answer is good for: as the record that lasts
// shortest says, or if there is nothing, as the zone's SOA record does
// (RFC 2308).
func lifetime(m *dns.Msg) time.Duration {
	seconds, greatest := uint32(0), greatestTTL
	if answers(m) {
		seconds = ^uint32(0)
		for _, rr := range m.Answer {
			seconds = min(seconds, ttl(rr.Header().Ttl))
		}
	} else {
		greatest = greatestNoTTL
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				seconds = min(ttl(soa.Hdr.Ttl), ttl(soa.Minttl))
			}
		}
	}
	return min(time.Duration(seconds)*time.Second, greatest)
}

// ttl reads a TTL: with the highest bit it is none (RFC 2181 8).
func ttl(n uint32) uint32 {
	if n>>31 != 0 {
		return 0
	}
	return n
}

// answers reports whether a message has what was asked for, and not only an
// alias for a name that has nothing.
func answers(m *dns.Msg) bool {
	if m.Rcode != dns.RcodeSuccess {
		return false
	}
	for _, rr := range m.Answer {
		if t := rr.Header().Rrtype; t == m.Question[0].Qtype || t != dns.TypeCNAME && t != dns.TypeRRSIG && t != dns.TypeDNAME {
			return true
		}
	}
	return false
}

// message turns the entry back into a message.
func (e *entry) message(q question, now time.Duration) (*dns.Msg, error) {
	asked := query{name: []byte(q.name), kind: q.kind, class: classIN}
	asked.asked = append([]byte(q.name), byte(q.kind>>8), byte(q.kind), 0, classIN)
	m := new(dns.Msg)
	return m, m.Unpack(e.reply(nil, &asked, greatestTCP+1, now))
}
