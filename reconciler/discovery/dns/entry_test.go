package dns

import (
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// FuzzUpstream has upstreams say anything to a question about any name: what
// is taken for an answer is remembered in a form that others can read.
func FuzzUpstream(f *testing.F) {
	for _, text := range []string{"example.com. 60 IN A 192.0.2.1", "example.com. 60 IN CNAME a.example.com.", "example.com. 60 IN MX 10 example.com.", `example.com. 60 IN TXT "a" "b"`, "example.com. 60 IN SRV 0 0 80 example.com.", "example.com. 60 IN SVCB 1 . alpn=h2"} {
		m := new(dns.Msg)
		m.SetQuestion("example.com.", dns.TypeA)
		m.Response = true
		m.SetEdns0(1232, true)
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer, m.Ns = []dns.RR{rr}, []dns.RR{rr}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte("\x07example\x03com\x00"), b)
		f.Add([]byte("\x03a.b\x04\x00\xff\\\"\x00"), b)
	}
	f.Fuzz(func(t *testing.T, name, b []byte) {
		var asked query
		p := append(slices.Concat([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, name), 0, 1, 0, 1)
		if asked.parse(p) != understood {
			return
		}
		q := asked.question()
		text, err := newMessage(q, false).Pack()
		if err != nil {
			t.Fatalf("the question: %v", err)
		}
		var back query
		if back.parse(text) != understood || string(back.name) != q.name {
			t.Fatalf("%q is asked as %q", q.name, back.name)
		}
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		m.Question = newMessage(q, true).Question
		if !answersTo(m, m.Question[0]) {
			t.Fatal("a question does not equal itself")
		}
		e, err := newEntry(q, m, 0)
		if err != nil {
			return
		}
		for _, limit := range []int{plainSize, greatestTCP} {
			reply := e.reply(nil, &asked, limit, 0)
			if len(reply) > limit {
				t.Fatalf("%d bytes of %d", len(reply), limit)
			}
			var r dns.Msg
			if err := r.Unpack(reply); err != nil {
				t.Fatalf("%v: %x", err, reply)
			}
			if !r.Truncated && len(r.Answer) != len(m.Answer) {
				t.Fatalf("%d answers of %d", len(r.Answer), len(m.Answer))
			}
		}
		if _, err := e.message(q, 0); err != nil {
			t.Fatal(err)
		}
	})
}
