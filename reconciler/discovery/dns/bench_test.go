package dns_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/poplin-net/poplin/reconciler/discovery/dns"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// many makes n services with a cluster IP.
func many(n int) []services.Service {
	var out []services.Service
	for i := range n {
		s := &schema.Service{Type: schema.ClusterIP, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}}
		s.Namespace, s.Name.Name = "default", fmt.Sprintf("service-%05d", i)
		out = append(out, services.Service{Document: s})
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
