package dns_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/discovery/dns"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// wait is how long a test waits for what must happen.
const wait = 30 * time.Second

// eventually waits for a condition.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %s: %s", wait, what)
		}
	}
}

// zoneOf makes the zone of these services.
func zoneOf(list ...*services.Service) *discovery.Zone {
	zone := discovery.NewZone()
	zone.Update(inputOf(list...))
	return zone
}

func inputOf(list ...*services.Service) discovery.Input {
	c := &schema.Cluster{
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
	}
	c.DNS.Domain, c.DNS.Addresses = "cluster.local", []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	return discovery.Input{Cluster: c, Services: list}
}

// web is a service with a cluster IP.
func web() *services.Service {
	s := &schema.Service{Type: schema.ClusterIP, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.20")}}
	s.Namespace, s.Name.Name = "default", "web"
	s.Ports = []schema.ServicePort{{Name: "http", Protocol: schema.TCP, Port: 80}}
	return &services.Service{Document: s}
}

// headless is a service with n endpoints.
func headless(name string, n int) *services.Service {
	s := &schema.Service{Type: schema.ClusterIP, Headless: true}
	s.Namespace, s.Name.Name = "default", name
	r := &services.Service{Document: s}
	for i := range n {
		r.Headless = append(r.Headless, services.HeadlessEndpoint{Address: netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), Weight: 1})
	}
	return r
}

// external is an alias.
func external(name, target string) *services.Service {
	s := &schema.Service{Type: schema.ExternalName, ExternalName: target}
	s.Namespace, s.Name.Name = "default", name
	return &services.Service{Document: s}
}

// freePort finds a port of an address that is free over UDP and TCP.
func freePort(t testing.TB, address string) netip.AddrPort {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			p.Close()
			return netip.MustParseAddrPort(l.Addr().String())
		}
	}
	t.Fatal("no free port")
	return netip.AddrPort{}
}

// started runs a server with these settings on a free port of 127.0.0.1,
// unless they name addresses, and waits until it listens.
func started(t testing.TB, zone *discovery.Zone, settings dns.Settings) (*dns.Server, string) {
	t.Helper()
	if settings.Addresses == nil {
		settings.Addresses = []netip.AddrPort{freePort(t, "127.0.0.1")}
	}
	if settings.Upstreams == nil && settings.ResolvConf == "" {
		settings.ResolvConf = t.TempDir() + "/none"
	}
	server := dns.New(dns.Options{Zone: zone, Settings: settings, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	eventually(t, "the server listens", func() bool {
		list := server.Stats().Listeners
		for _, l := range list {
			if l.Error != "" {
				return false
			}
		}
		return len(list) == len(settings.Addresses)
	})
	return server, settings.Addresses[0].String()
}

// ask asks a server over "udp" or "tcp".
func ask(t testing.TB, network, server, name string, kind uint16) *wire.Msg {
	t.Helper()
	m := new(wire.Msg)
	m.SetQuestion(name, kind)
	return send(t, network, server, m)
}

func send(t testing.TB, network, server string, m *wire.Msg) *wire.Msg {
	t.Helper()
	client := wire.Client{Net: network, Timeout: wait, UDPSize: 65535}
	r, _, err := client.Exchange(m, server)
	if err != nil {
		t.Fatalf("%s %s: %v", network, m.Question[0].Name, err)
	}
	return r
}

// upstream is a resolver that does as a test wants. It counts questions.
type upstream struct {
	address netip.AddrPort
	asked   atomic.Int64
	// answer may leave out to answer, by returning nil.
	answer atomic.Pointer[func(network string, m *wire.Msg) *wire.Msg]
}

func newUpstream(t testing.TB, answer func(network string, m *wire.Msg) *wire.Msg) *upstream {
	t.Helper()
	u := &upstream{address: freePort(t, "127.0.0.1")}
	u.answer.Store(&answer)
	for _, network := range []string{"udp", "tcp"} {
		ready := make(chan struct{})
		server := &wire.Server{Addr: u.address.String(), Net: network, NotifyStartedFunc: func() { close(ready) }}
		server.Handler = wire.HandlerFunc(func(w wire.ResponseWriter, m *wire.Msg) {
			if m.Question[0].Qtype != wire.TypeHINFO && m.Question[0].Name != "." { // not a look of its own
				u.asked.Add(1)
			}
			if r := (*u.answer.Load())(network, m); r != nil {
				_ = w.WriteMsg(r)
			}
		})
		go func() { _ = server.ListenAndServe() }()
		<-ready
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return u
}

// address answers every question with one address.
func address(ttl int) func(string, *wire.Msg) *wire.Msg {
	return func(_ string, m *wire.Msg) *wire.Msg {
		r := new(wire.Msg)
		r.SetReply(m)
		r.RecursionAvailable = true
		if m.Question[0].Qtype == wire.TypeA {
			rr, _ := wire.NewRR(m.Question[0].Name + " " + strconv.Itoa(ttl) + " IN A 192.0.2.80")
			r.Answer = append(r.Answer, rr)
		}
		return r
	}
}

// packed is a query as it is sent; size 0 is for one without EDNS.
func packed(t testing.TB, name string, size uint16) []byte {
	t.Helper()
	m := new(wire.Msg)
	m.SetQuestion(name, wire.TypeA)
	if size > 0 {
		m.SetEdns0(size, false)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
