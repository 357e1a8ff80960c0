package dns_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/discovery/dns"
)

func TestAnswersFromTheZone(t *testing.T) {
	silent := newUpstream(t, func(string, *wire.Msg) *wire.Msg { return nil })
	_, at := started(t, zoneOf(web(), headless("db", 2)), dns.Settings{Upstreams: []netip.AddrPort{silent.address}})
	for _, c := range []struct {
		name   string
		kind   uint16
		rcode  int
		answer string // or what is in the authority section
	}{
		{"WeB.default.svc.Cluster.Local.", wire.TypeA, wire.RcodeSuccess, "WeB.default.svc.Cluster.Local. 5 IN A 10.96.0.20"},
		{"web.default.svc.cluster.local.", wire.TypeAAAA, wire.RcodeSuccess, "cluster.local. 5 IN SOA"},
		{"web.default.svc.cluster.local.", wire.TypeANY, wire.RcodeSuccess, `web.default.svc.cluster.local. 5 IN HINFO "RFC8482" ""`},
		{"none.default.svc.CLUSTER.local.", wire.TypeA, wire.RcodeNameError, "CLUSTER.local. 5 IN SOA"},
		{"default.svc.cluster.local.", wire.TypeA, wire.RcodeSuccess, "cluster.local. 5 IN SOA"},
		{"_HTTP._tcp.web.default.svc.cluster.local.", wire.TypeSRV, wire.RcodeSuccess, "_HTTP._tcp.web.default.svc.cluster.local. 5 IN SRV 0 1 80 web.default.svc.cluster.local."},
		{"20.0.96.10.in-addr.arpa.", wire.TypePTR, wire.RcodeSuccess, "20.0.96.10.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local."},
		{"21.0.96.10.in-addr.arpa.", wire.TypePTR, wire.RcodeNameError, "96.10.in-addr.arpa. 5 IN SOA"},
		{"cluster.local.", wire.TypeSOA, wire.RcodeSuccess, "cluster.local. 5 IN SOA"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r := ask(t, network, at, c.name, c.kind)
			if r.Rcode != c.rcode || !r.Authoritative || !r.RecursionAvailable || !r.RecursionDesired || r.Truncated || r.Question[0].Name != c.name {
				t.Errorf("%s %s: %v", network, c.name, r)
			}
			section := append(r.Answer, r.Ns...)
			if len(section) != 1 || !strings.HasPrefix(plainText(section[0]), c.answer) {
				t.Errorf("%s %s %s: %v, want %s", network, c.name, wire.TypeToString[c.kind], section, c.answer)
			}
		}
	}
	if n := silent.asked.Load(); n != 0 {
		t.Errorf("an upstream was asked %d times about our zones", n)
	}
}

func plainText(rr wire.RR) string { return strings.Join(strings.Fields(rr.String()), " ") }

// TestAgainstDig lets another implementation read the answers.
func TestAgainstDig(t *testing.T) {
	if _, err := exec.LookPath("dig"); err != nil {
		t.Skip(err)
	}
	_, at := started(t, zoneOf(web(), headless("db", 600)), dns.Settings{})
	host, port, _ := net.SplitHostPort(at)
	for _, c := range []struct{ words, want string }{
		{"web.default.svc.cluster.local A +short", "10.96.0.20"},
		{"-x 10.96.0.20 +short", "web.default.svc.cluster.local."},
		{"dns-version.cluster.local TXT +short", `"1.1.0"`},
		{"web.default.svc.cluster.local MX", "status: NOERROR"},
		{"nobody.default.svc.cluster.local A", "status: NXDOMAIN"},
		{"db.default.svc.cluster.local A +ignore", "tc"},
		{"db.default.svc.cluster.local A", "ANSWER: 600"},
		{"cluster.local AXFR", "Transfer failed"},
		{"version.bind CH TXT", "status: REFUSED"},
		{"web.default.svc.cluster.local A +edns=1 +noednsneg", "status: BADVERS"},
		{"web.default.svc.cluster.local A +opcode=notify", "status: NOTIMP"},
		{"web.default.svc.cluster.local A +opcode=update", "status: NOTIMP"},
		{"example.com ANY +notcp", "RFC8482"},
		{"example.com A +norecurse", "status: REFUSED"},
		{"web.default.svc.cluster.local A +tcp +cookie", "10.96.0.20"},
	} {
		out, err := exec.Command("dig", append([]string{"@" + host, "-p", port, "+tries=1"}, strings.Fields(c.words)...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("dig %s: %v, %q is not in:\n%s", c.words, err, c.want, out)
		}
		if strings.Contains(string(out), "malformed") || strings.Contains(string(out), "extra bytes") {
			t.Errorf("dig %s:\n%s", c.words, out)
		}
	}
}

func TestNothingIsKnownBeforeTheZoneIsThere(t *testing.T) {
	zone := discovery.NewZone()
	server, at := started(t, zone, dns.Settings{})
	for _, name := range []string{"web.default.svc.cluster.local.", "example.com."} {
		if r := ask(t, "udp", at, name, wire.TypeA); r.Rcode != wire.RcodeServerFailure {
			t.Errorf("%v", r)
		}
	}
	if server.Stats().Ready {
		t.Error("ready without a zone")
	}
	zone.Update(inputOf(web()))
	if r := ask(t, "udp", at, "web.default.svc.cluster.local.", wire.TypeA); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
}

// TestClients asks from addresses that may and from ones that may not.
func TestClients(t *testing.T) {
	at := freePort(t, "127.0.0.1")
	settings := dns.Settings{Addresses: []netip.AddrPort{at}, Allowed: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00::/8")}}
	server, _ := started(t, zoneOf(web()), settings)
	handle := dns.HandleFrom(server)
	p := packed(t, "web.default.svc.cluster.local.", 0)
	rcode := func(client string) int {
		m := new(wire.Msg)
		if err := m.Unpack(handle(p, netip.MustParseAddr(client))); err != nil {
			t.Fatal(err)
		}
		return m.Rcode
	}
	for client, want := range map[string]int{
		"10.244.7.9": wire.RcodeSuccess, "127.0.0.1": wire.RcodeSuccess, "::1": wire.RcodeSuccess, "fd00::7": wire.RcodeSuccess,
		"10.96.0.10": wire.RcodeSuccess, // the address that is asked
		"192.0.2.9":  wire.RcodeRefused, "2001:db8::1": wire.RcodeRefused,
	} {
		if got := rcode(client); got != want {
			t.Errorf("%s: %s", client, wire.RcodeToString[got])
		}
	}
	settings.Allowed = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	server.Configure(settings)
	if rcode("192.0.2.9") != wire.RcodeSuccess || rcode("10.244.7.9") != wire.RcodeRefused {
		t.Error("the clients of before are still allowed")
	}
	if n := server.Stats().Refused; n != 3 {
		t.Errorf("%d refused", n)
	}
}

func TestRateOfOneClientIsLimited(t *testing.T) {
	server := dns.New(dns.Options{Zone: zoneOf(web()), Settings: dns.Settings{Rate: 20, Allowed: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}})
	handle := dns.HandleFrom(server)
	p := packed(t, "web.default.svc.cluster.local.", 0)
	answered := 0
	for range 1000 {
		if handle(p, netip.MustParseAddr("10.244.1.1")) != nil {
			answered++
		}
	}
	if answered < 20 || answered > 900 {
		t.Errorf("%d of 1000 answered", answered)
	}
	if handle(p, netip.MustParseAddr("10.244.1.2")) == nil {
		t.Error("the limit of one client hits another")
	}
	if n := server.Stats().Limited; n != uint64(1000-answered) {
		t.Errorf("%d counted as limited", n)
	}
}

// TestAddressesComeAndGo moves a running server, and has it wait for a port
// that somebody else holds.
func TestAddressesComeAndGo(t *testing.T) {
	t.Parallel()
	one, two := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.2")
	holder, err := net.ListenPacket("udp", two.String())
	if err != nil {
		t.Fatal(err)
	}
	server, _ := started(t, zoneOf(web()), dns.Settings{Addresses: []netip.AddrPort{one}, ResolvConf: t.TempDir()})
	server.Configure(dns.Settings{Addresses: []netip.AddrPort{one, two}, ResolvConf: t.TempDir()})
	eventually(t, "the held port is a problem", func() bool {
		return strings.Contains(strings.Join(server.Stats().Problems, "\n"), "DNS does not listen on "+two.String())
	})
	if r := ask(t, "udp", one.String(), "web.default.svc.cluster.local.", wire.TypeA); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
	holder.Close()
	listening := func(want ...netip.AddrPort) func() bool {
		return func() bool {
			list := server.Stats().Listeners
			for i, l := range list {
				if i >= len(want) || l.Error != "" || l.Address != want[i] {
					return false
				}
			}
			return len(list) == len(want)
		}
	}
	eventually(t, "the port is taken when it is free", listening(one, two))
	ask(t, "tcp", two.String(), "web.default.svc.cluster.local.", wire.TypeA)
	server.Configure(dns.Settings{Addresses: []netip.AddrPort{two}, ResolvConf: t.TempDir()})
	eventually(t, "the other address is left", listening(two))
	ask(t, "udp", two.String(), "web.default.svc.cluster.local.", wire.TypeA)
	again, err := net.ListenPacket("udp", one.String())
	if err != nil {
		t.Errorf("the port is still held: %v", err)
	} else {
		again.Close()
	}
}

func TestNoWildcard(t *testing.T) {
	server := dns.New(dns.Options{Zone: zoneOf(web())})
	for _, a := range []string{"0.0.0.0:5353", "[::]:5353"} {
		if err := dns.TryListen(server, netip.MustParseAddrPort(a)); err == nil {
			t.Errorf("listens on %s", a)
		}
	}
}

func TestIPv6(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip(err)
	} else {
		l.Close()
	}
	_, at := started(t, zoneOf(web()), dns.Settings{Addresses: []netip.AddrPort{freePort(t, "::1")}})
	for _, network := range []string{"udp", "tcp"} {
		if r := ask(t, network, at, "web.default.svc.cluster.local.", wire.TypeA); len(r.Answer) != 1 {
			t.Errorf("%s: %v", network, r)
		}
	}
}

// TestEverythingAtOnce changes the zone and the settings while clients ask:
// each answer is one of a zone that was there.
func TestEverythingAtOnce(t *testing.T) {
	up := newUpstream(t, address(60))
	settings := via(up)
	zone := zoneOf(headless("db", 3))
	server, at := started(t, zone, settings)
	settings.Addresses = []netip.AddrPort{netip.MustParseAddrPort(at)}
	stop := make(chan struct{})
	var clients, changes sync.WaitGroup
	changes.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			zone.Update(inputOf(headless("db", 3*(i%2)), external("else", "www.example")))
			settings.Rate, settings.CacheBytes = 1_000_000+i, 1<<20+i
			server.Configure(settings)
			_ = server.Stats()
		}
	})
	for _, network := range []string{"udp", "tcp"} {
		for range 2 {
			clients.Go(func() {
				for i := range 300 {
					name := []string{"db.default.svc.cluster.local.", "else.default.svc.cluster.local.", fmt.Sprint("x", i, ".example.")}[i%3]
					r := ask(t, network, at, name, wire.TypeA)
					ok := r.Rcode == wire.RcodeNameError || len(r.Answer) == 3 && i%3 == 0 || len(r.Answer) == 2 && i%3 == 1
					if i%3 == 2 {
						ok = len(r.Answer) == 1
					}
					if !ok {
						t.Errorf("%v", r)
					}
				}
			})
		}
	}
	clients.Wait()
	close(stop)
	changes.Wait()
}
