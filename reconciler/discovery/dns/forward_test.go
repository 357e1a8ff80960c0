package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/discovery/dns"
)

// silence is what an upstream says that is dead, but whose host is not.
func silence(string, *wire.Msg) *wire.Msg { return nil }

func via(list ...*upstream) dns.Settings {
	var s dns.Settings
	for _, u := range list {
		s.Upstreams = append(s.Upstreams, u.address)
	}
	return s
}

func TestOthersAreAskedOnceAndRemembered(t *testing.T) {
	up := newUpstream(t, address(60))
	server, at := started(t, zoneOf(), via(up))
	for i, network := range []string{"udp", "tcp", "udp"} {
		r := ask(t, network, at, "WWW.Example.com.", wire.TypeA)
		if len(r.Answer) != 1 || r.Authoritative || r.Question[0].Name != "WWW.Example.com." || !strings.EqualFold(r.Answer[0].Header().Name, "www.example.com.") {
			t.Errorf("%d: %v", i, r)
		}
		if ttl := r.Answer[0].Header().Ttl; ttl > 60 || ttl < 30 {
			t.Errorf("TTL %d", ttl)
		}
	}
	if n := up.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	s := server.Stats()
	if s.Forwarded != 1 || s.Cached != 2 || s.Cache.Entries != 1 || s.Upstreams[0].State != "up" {
		t.Errorf("%+v", s)
	}
}

func TestNothingIsRememberedAsTheZoneSays(t *testing.T) {
	nothing := func(soa string) func(string, *wire.Msg) *wire.Msg {
		return func(_ string, m *wire.Msg) *wire.Msg {
			r := new(wire.Msg)
			r.SetRcode(m, wire.RcodeNameError)
			if soa != "" {
				rr, err := wire.NewRR(soa)
				if err != nil {
					panic(err)
				}
				r.Ns = append(r.Ns, rr)
			}
			return r
		}
	}
	up := newUpstream(t, nothing("example.com. 3600 IN SOA a. b. 1 2 3 4 60"))
	_, at := started(t, zoneOf(), via(up))
	for range 3 {
		if r := ask(t, "udp", at, "none.example.com.", wire.TypeA); r.Rcode != wire.RcodeNameError || len(r.Ns) != 1 {
			t.Errorf("%v", r)
		}
	}
	if n := up.asked.Load(); n != 1 {
		t.Errorf("with a SOA record: asked %d times", n)
	}
	without := nothing("")
	up.answer.Store(&without)
	for range 3 {
		ask(t, "udp", at, "nothing.example.com.", wire.TypeA)
	}
	if n := up.asked.Load(); n != 4 {
		t.Errorf("without a SOA record: asked %d times", n-1)
	}
}

// TestManyAskTheSame has clients ask at once, while the upstream takes its
// time: it is asked once.
func TestManyAskTheSame(t *testing.T) {
	gate := make(chan struct{})
	up := newUpstream(t, func(n string, m *wire.Msg) *wire.Msg {
		if m.Question[0].Qtype != wire.TypeHINFO {
			<-gate
		}
		return address(60)(n, m)
	})
	server, at := started(t, zoneOf(), via(up))
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			if r := ask(t, "udp", at, "example.com.", wire.TypeA); len(r.Answer) != 1 {
				t.Errorf("%v", r)
			}
		})
	}
	eventually(t, "all wait", func() bool { return server.Stats().InFlight == 100 })
	close(gate)
	group.Wait()
	if n := up.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestDeadUpstreams(t *testing.T) {
	t.Parallel()
	dead, alive := newUpstream(t, silence), newUpstream(t, address(60))
	refusing := freePort(t, "127.0.0.1") // nobody listens
	settings := via(dead, alive)
	settings.Upstreams = append([]netip.AddrPort{refusing}, settings.Upstreams...)
	server, at := started(t, zoneOf(), settings)
	for _, name := range []string{"a.example.", "b.example.", "c.example.", "d.example."} {
		if r := ask(t, "udp", at, name, wire.TypeA); len(r.Answer) != 1 {
			t.Errorf("%v", r)
		}
	}
	eventually(t, "the dead one is known", func() bool {
		s := server.Stats()
		return s.Upstreams[0].State == "down" && s.Upstreams[1].State == "down" && s.Upstreams[2].State == "up" && len(s.Problems) == 2
	})
	before := dead.asked.Load()
	for _, name := range []string{"e.example.", "f.example."} {
		ask(t, "udp", at, name, wire.TypeA)
	}
	if n := dead.asked.Load(); n != before {
		t.Errorf("clients waited for one that is down: asked %d times more", n-before)
	}
	// It is back, but cannot ask others.
	back := func(n string, m *wire.Msg) *wire.Msg {
		if m.Question[0].Qtype == wire.TypeHINFO {
			return nil
		}
		return address(60)(n, m)
	}
	dead.answer.Store(&back)
	asking := 0
	eventually(t, "it is used when it is back", func() bool {
		asking++
		ask(t, "udp", at, fmt.Sprint("x", asking, ".example."), wire.TypeA)
		return server.Stats().Upstreams[1].State == "up"
	})
}

// TestNobodyAnswers wants SERVFAIL within 5 s, of which the test waits five
// times as long, and few questions.
func TestNobodyAnswers(t *testing.T) {
	for name, list := range map[string][]*upstream{
		"one":   {newUpstream(t, silence)},
		"three": {newUpstream(t, silence), newUpstream(t, silence), newUpstream(t, silence)},
		"none":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := via(list...)
			_, at := started(t, zoneOf(), settings)
			start := time.Now()
			for range 3 {
				if r := ask(t, "udp", at, "example.com.", wire.TypeA); r.Rcode != wire.RcodeServerFailure {
					t.Errorf("%v", r)
				}
			}
			t.Logf("three times SERVFAIL after %s", time.Since(start))
			for _, u := range list {
				if n := u.asked.Load(); n > 4 {
					t.Errorf("asked %d times", n)
				}
			}
		})
	}
}

func TestUpstreamThatTruncates(t *testing.T) {
	up := newUpstream(t, func(network string, m *wire.Msg) *wire.Msg {
		r := address(60)(network, m)
		if network == "udp" {
			r.Truncated, r.Answer = true, nil
		}
		return r
	})
	_, at := started(t, zoneOf(), via(up))
	if r := ask(t, "udp", at, "example.com.", wire.TypeA); len(r.Answer) != 1 || r.Truncated {
		t.Errorf("%v", r)
	}
}

// TestLargeAnswer comes from an upstream over TCP, and goes to clients whole
// over TCP only.
func TestLargeAnswer(t *testing.T) {
	up := newUpstream(t, func(network string, m *wire.Msg) *wire.Msg {
		r := new(wire.Msg)
		r.SetReply(m)
		for i := range 300 {
			r.Answer = append(r.Answer, &wire.A{Hdr: wire.RR_Header{Name: m.Question[0].Name, Rrtype: wire.TypeA, Class: 1, Ttl: 60}, A: net.IPv4(192, 0, byte(i>>8), byte(i))})
		}
		if network == "udp" {
			r.Truncate(512)
		}
		return r
	})
	_, at := started(t, zoneOf(), via(up))
	for range 2 {
		if r := ask(t, "udp", at, "example.com.", wire.TypeA); !r.Truncated || r.Rcode != wire.RcodeSuccess {
			t.Errorf("%v", r)
		}
		if r := ask(t, "tcp", at, "example.com.", wire.TypeA); len(r.Answer) != 300 {
			t.Errorf("%v", r)
		}
	}
}

// TestUpstreamThatLies answers other questions than the one it was asked, and
// maybe this one at last.
func TestUpstreamThatLies(t *testing.T) {
	t.Parallel()
	for _, honest := range []bool{true, false} {
		at := freePort(t, "127.0.0.1")
		conn, err := net.ListenPacket("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			buffer := make([]byte, 4096)
			for {
				n, client, err := conn.ReadFrom(buffer)
				if err != nil {
					return
				}
				var m wire.Msg
				if m.Unpack(buffer[:n]) != nil {
					continue
				}
				for _, lie := range lies(&m, honest) {
					_, _ = conn.WriteTo(lie, client)
				}
			}
		}()
		_, server := started(t, zoneOf(), dns.Settings{Upstreams: []netip.AddrPort{at}})
		r := ask(t, "udp", server, "example.com.", wire.TypeA)
		if honest && (len(r.Answer) != 1 || !strings.Contains(r.Answer[0].String(), "192.0.2.80")) || !honest && r.Rcode != wire.RcodeServerFailure {
			t.Errorf("honest %t: %v", honest, r)
		}
	}
}

// lies are answers to other questions, with other IDs, or broken.
func lies(m *wire.Msg, honest bool) [][]byte {
	var out [][]byte
	add := func(change func(r *wire.Msg)) {
		r := address(60)("udp", m)
		rr, _ := wire.NewRR("example.com. 60 IN A 203.0.113.66")
		r.Answer = []wire.RR{rr}
		change(r)
		if text, err := r.Pack(); err == nil {
			out = append(out, text)
		}
	}
	add(func(r *wire.Msg) { r.Question[0].Name = "example.org." })
	add(func(r *wire.Msg) { r.Question[0].Qtype = wire.TypeAAAA })
	add(func(r *wire.Msg) { r.Question[0].Qclass = wire.ClassCHAOS })
	add(func(r *wire.Msg) { r.Question = nil })
	add(func(r *wire.Msg) { r.Id++ })
	add(func(r *wire.Msg) { r.Response = false })
	add(func(r *wire.Msg) { r.Opcode = wire.OpcodeNotify })
	out = append(out, nil, out[0][:5], out[0][:20])
	if honest {
		add(func(r *wire.Msg) { *r = *address(60)("udp", m) })
	}
	return out
}

// TestUpstreamThatLoops sends everything back to us, as a resolver does that
// asks us: it is found out, and what was asked before that does not multiply.
func TestUpstreamThatLoops(t *testing.T) {
	t.Parallel()
	at := freePort(t, "127.0.0.1")
	up := looping(t, at)
	settings := via(up)
	settings.Addresses = []netip.AddrPort{at}
	server, _ := started(t, zoneOf(), settings)
	eventually(t, "the loop is known without a client", func() bool { return server.Stats().Upstreams[0].State == "loops" })
	dns.Trust(server) // as before the loop was closed
	r := ask(t, "udp", at.String(), "first.example.com.", wire.TypeA)
	if r.Rcode != wire.RcodeServerFailure {
		t.Errorf("%v", r)
	}
	eventually(t, "the loop is known", func() bool {
		return strings.Contains(strings.Join(server.Stats().Problems, "\n"), "asks us what we ask it")
	})
	before := up.asked.Load()
	for _, name := range []string{"a.example.com.", "b.example.com."} {
		if r := ask(t, "udp", at.String(), name, wire.TypeA); r.Rcode != wire.RcodeServerFailure {
			t.Errorf("%v", r)
		}
	}
	if n := up.asked.Load(); n != before || n > 4 {
		t.Errorf("asked %d times, %d of them after it was found out", n, n-before)
	}
}

// TestLoopBeforeTheZone is found as well: upstreams are looked at as soon as
// the server listens.
func TestLoopBeforeTheZone(t *testing.T) {
	t.Parallel()
	at := freePort(t, "127.0.0.1")
	settings := via(looping(t, at))
	settings.Addresses = []netip.AddrPort{at}
	server, _ := started(t, discovery.NewZone(), settings)
	eventually(t, "the loop is known", func() bool { return server.Stats().Upstreams[0].State == "loops" })
}

// looping is an upstream that asks a server what it is asked.
func looping(t *testing.T, at netip.AddrPort) *upstream {
	return newUpstream(t, func(network string, m *wire.Msg) *wire.Msg {
		client := wire.Client{Net: network, Timeout: 5 * time.Second}
		r, _, err := client.Exchange(m, at.String())
		if err != nil {
			return nil
		}
		return r
	})
}

// TestOutOfDateAnswers are given while nobody has a newer one.
func TestOutOfDateAnswers(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, address(1))
	server, at := started(t, zoneOf(), via(up))
	ask(t, "udp", at, "example.com.", wire.TypeA)
	quiet := silence
	up.answer.Store(&quiet)
	eventually(t, "the answer is out of date", func() bool {
		r := ask(t, "udp", at, "example.com.", wire.TypeA)
		if len(r.Answer) != 1 {
			t.Fatalf("%v", r)
		}
		return r.Answer[0].Header().Ttl == 30
	})
	if server.Stats().Stale == 0 {
		t.Error("not counted")
	}
	other := func(_ string, m *wire.Msg) *wire.Msg {
		r := new(wire.Msg)
		return r.SetRcode(m, wire.RcodeNameError)
	}
	up.answer.Store(&other)
	eventually(t, "the newer answer counts", func() bool {
		return ask(t, "udp", at, "example.com.", wire.TypeA).Rcode == wire.RcodeNameError
	})
}

func TestTooMuchUnderWay(t *testing.T) {
	up := newUpstream(t, silence)
	settings := via(up)
	settings.InFlight = 8 // 2 of one client
	server, at := started(t, zoneOf(web()), settings)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, name := range []string{"a.example.", "b.example."} {
		m := new(wire.Msg)
		m.SetQuestion(name, wire.TypeA)
		go func() { _, _ = wire.ExchangeContext(ctx, m, at) }()
	}
	eventually(t, "two wait", func() bool { return server.Stats().InFlight == 2 })
	for _, network := range []string{"udp", "tcp"} {
		if r := ask(t, network, at, "c.example.", wire.TypeA); r.Rcode != wire.RcodeServerFailure {
			t.Errorf("%v", r)
		}
		if r := ask(t, network, at, "web.default.svc.cluster.local.", wire.TypeA); len(r.Answer) != 1 {
			t.Errorf("%v", r)
		}
	}
	if n := server.Stats().Busy; n != 2 {
		t.Errorf("%d counted as too many", n)
	}
}

// TestAliases are names of ours that stand for others.
func TestAliases(t *testing.T) {
	up := newUpstream(t, func(n string, m *wire.Msg) *wire.Msg {
		if m.Question[0].Name == "none.example." {
			r := new(wire.Msg)
			return r.SetRcode(m, wire.RcodeNameError)
		}
		return address(60)(n, m)
	})
	_, at := started(t, zoneOf(
		external("out", "www.example"), external("none", "none.example"),
		external("a", "web.default.svc.cluster.local"), external("b", "a.default.svc.cluster.local"),
		external("lost", "nobody.default.svc.cluster.local"),
		external("x", "y.default.svc.cluster.local"), external("y", "x.default.svc.cluster.local"),
		web(),
	), via(up))
	for _, c := range []struct {
		name   string
		kind   uint16
		rcode  int
		answer string
	}{
		{"out", wire.TypeA, wire.RcodeSuccess, "CNAME www.example., A 192.0.2.80"},
		{"out", wire.TypeAAAA, wire.RcodeSuccess, "CNAME www.example."},
		{"out", wire.TypeCNAME, wire.RcodeSuccess, "CNAME www.example."},
		{"none", wire.TypeA, wire.RcodeNameError, "CNAME none.example."},
		{"a", wire.TypeA, wire.RcodeSuccess, "CNAME web.default.svc.cluster.local., A 10.96.0.20"},
		{"b", wire.TypeA, wire.RcodeSuccess, "CNAME a.default.svc.cluster.local., CNAME web.default.svc.cluster.local., A 10.96.0.20"},
		{"b", wire.TypeAAAA, wire.RcodeSuccess, "CNAME a.default.svc.cluster.local., CNAME web.default.svc.cluster.local."},
		{"lost", wire.TypeA, wire.RcodeNameError, "CNAME nobody.default.svc.cluster.local."},
		{"x", wire.TypeA, wire.RcodeServerFailure, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			name := strings.ToUpper(c.name) + ".default.svc.Cluster.local."
			r := ask(t, network, at, name, c.kind)
			var got []string
			for _, rr := range r.Answer {
				got = append(got, strings.Join(strings.Fields(rr.String())[3:], " "))
			}
			if text := strings.Join(got, ", "); r.Rcode != c.rcode || text != c.answer || r.Question[0].Name != name {
				t.Errorf("%s %s %s: %s %s", network, c.name, wire.TypeToString[c.kind], wire.RcodeToString[r.Rcode], text)
			}
		}
	}
	if n := up.asked.Load(); n != 5 { // nothing is remembered without a SOA record
		t.Errorf("asked %d times", n)
	}
}

// TestResolvConf takes the upstreams from a file that changes.
func TestResolvConf(t *testing.T) {
	t.Parallel()
	file, resolved := t.TempDir()+"/resolv.conf", t.TempDir()+"/resolved.conf"
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	own := freePort(t, "127.0.0.1")
	server, at := started(t, zoneOf(), dns.Settings{Addresses: []netip.AddrPort{own}, ResolvConf: file, ResolvedConf: resolved})
	upstreams := func(want string) {
		t.Helper()
		eventually(t, "upstreams are "+want, func() bool {
			dns.LookAtUpstreams(server)
			var got []string
			for _, u := range server.Stats().Upstreams {
				got = append(got, u.Address.String())
			}
			return strings.Join(got, " ") == want
		})
	}
	ask(t, "udp", at, "example.com.", wire.TypeA)
	if p := server.Stats().Problems; len(p) != 1 || !strings.Contains(p[0], "no such file") {
		t.Errorf("problems %v", p)
	}
	write(file, "# mine\nsearch example.com\nnameserver 192.0.2.1\nnameserver nonsense\nnameserver\nnameserver 2001:db8::1 # second\noptions ndots:2\n")
	upstreams("192.0.2.1:53 [2001:db8::1]:53")
	write(file, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n")
	upstreams("192.0.2.1:53 192.0.2.2:53 192.0.2.3:53")
	write(resolved, "nameserver 192.0.2.7\n")
	write(file, "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
	upstreams("192.0.2.7:53")
	write(resolved, "nameserver 192.0.2.8\n")
	upstreams("192.0.2.8:53")
	write(file, "")
	upstreams("")
	eventually(t, "that there is none is a problem", func() bool {
		return strings.Contains(strings.Join(server.Stats().Problems, "\n"), "no upstream")
	})
}

// TestNotOurselves leaves out upstreams that are addresses of our own.
func TestNotOurselves(t *testing.T) {
	own := freePort(t, "127.0.0.1")
	up := newUpstream(t, address(60))
	server, at := started(t, zoneOf(), dns.Settings{Addresses: []netip.AddrPort{own}, Upstreams: []netip.AddrPort{own, up.address}})
	if r := ask(t, "udp", at, "example.com.", wire.TypeA); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
	if list := server.Stats().Upstreams; len(list) != 1 {
		t.Errorf("%v", list)
	}
}

// TestUpstreamWithoutEDNS says FORMERR to it, as old ones do.
func TestUpstreamWithoutEDNS(t *testing.T) {
	up := newUpstream(t, func(n string, m *wire.Msg) *wire.Msg {
		if m.IsEdns0() != nil {
			r := new(wire.Msg)
			r.SetRcode(m, wire.RcodeFormatError)
			r.Question = nil
			return r
		}
		return address(60)(n, m)
	})
	_, at := started(t, zoneOf(), via(up))
	if r := ask(t, "udp", at, "example.com.", wire.TypeA); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
}
