package dns_test

import (
	"fmt"
	"net/netip"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery/dns"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// many makes n services with a cluster IP.
func many(n int) []*services.Service {
	var out []*services.Service
	for i := range n {
		s := &schema.Service{Type: schema.ClusterIP, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}}
		s.Namespace, s.Name.Name = "default", fmt.Sprintf("service-%05d", i)
		out = append(out, &services.Service{Document: s})
	}
	return out
}

// BenchmarkHandle is a cluster-name answer without sockets.
func BenchmarkHandle(b *testing.B) {
	handle := dns.Handle(dns.New(dns.Options{Zone: zoneOf(many(10_000)...)}))
	for _, size := range []uint16{0, 1232} {
		var packets [][]byte
		for i := range 10_000 {
			packets = append(packets, packed(b, fmt.Sprintf("Service-%05d.default.svc.cluster.local.", i), size))
		}
		b.Run(fmt.Sprint("edns=", size), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if handle(packets[i%len(packets)]) == nil {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkCached is an answer of others that is remembered.
func BenchmarkCached(b *testing.B) {
	up := newUpstream(b, address(3600))
	server, at := started(b, zoneOf(), via(up))
	ask(b, "udp", at, "www.example.com.", wire.TypeA)
	handle := dns.Handle(server)
	p := packed(b, "www.example.com.", 1232)
	b.ReportAllocs()
	for b.Loop() {
		if handle(p) == nil {
			b.Fatal("no answer")
		}
	}
}

// BenchmarkManyEndpoints is a large answer, of which part fits.
func BenchmarkManyEndpoints(b *testing.B) {
	handle := dns.Handle(dns.New(dns.Options{Zone: zoneOf(headless("many", 4000))}))
	p := packed(b, "many.default.svc.cluster.local.", 4096)
	b.ReportAllocs()
	for b.Loop() {
		if handle(p) == nil {
			b.Fatal("no answer")
		}
	}
}

// TestClusterNamesAllocateNothing on their way from packet to packet.
func TestClusterNamesAllocateNothing(t *testing.T) {
	handle := dns.Handle(dns.New(dns.Options{Zone: zoneOf(append(many(10), headless("db", 100))...)}))
	for _, name := range []string{"Service-00003.default.svc.cluster.local.", "db.default.svc.cluster.local.", "none.default.svc.cluster.local.", "3.0.96.10.in-addr.arpa."} {
		p := packed(t, name, 1232)
		if n := testing.AllocsPerRun(100, func() { handle(p) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
