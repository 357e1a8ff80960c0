package discovery_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// many makes n services with two named ports and two addresses each; every
// tenth is headless with ten endpoints.
func many(n int) discovery.Input {
	in := discovery.Input{Cluster: cluster()}
	in.Cluster.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/108")}
	for i := range n {
		s := &schema.Service{Type: schema.ClusterIP}
		s.Namespace, s.Name.Name = fmt.Sprintf("namespace-%02d", i*50/n), fmt.Sprintf("service-%05d", i)
		s.Ports = []schema.ServicePort{{Name: "http", Protocol: schema.TCP, Port: 80}, {Name: "metrics", Protocol: schema.TCP, Port: 9100}}
		r := &services.Service{Document: s}
		if s.Headless = i%10 == 0; s.Headless {
			for j := range 10 {
				k := i/10*10 + j
				r.Headless = append(r.Headless, services.HeadlessEndpoint{
					Address: netip.AddrFrom4([4]byte{10, 244, byte(k >> 8), byte(k)}), Weight: 1,
					Ports: []services.HeadlessPort{{Name: "http", Protocol: schema.TCP, Port: 8080}, {Name: "metrics", Protocol: schema.TCP, Port: 9100}},
				})
			}
		} else {
			s.ClusterIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd00:96::%x", i))}
		}
		in.Services = append(in.Services, r)
	}
	return in
}

// BenchmarkUpdate changes one service of many: one with a cluster IP, then
// one endpoint of a headless one.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			one := many(n)
			two := one
			two.Services = slices.Clone(one.Services)
			for i := range 2 {
				service := *one.Services[n/2+i]
				changed := *service.Document
				if changed.Headless {
					service.Headless = service.Headless[1:]
				} else {
					changed.ClusterIPs = []netip.Addr{netip.MustParseAddr("10.97.0.1")}
				}
				service.Document = &changed
				two.Services[n/2+i] = &service
			}
			zone := discovery.NewZone()
			zone.Update(one)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%2 == 0 {
					zone.Update(two)
				} else {
					zone.Update(one)
				}
			}
		})
	}
}

// BenchmarkBuild makes the zone from nothing and tells what it takes of memory.
func BenchmarkBuild(b *testing.B) {
	in := many(10_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var zone *discovery.Zone
	for b.Loop() {
		zone = discovery.NewZone()
		zone.Update(in)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MB")
	b.ReportMetric(float64(zone.Table().Names()), "names")
}

func BenchmarkLookup(b *testing.B) {
	in := many(10_000)
	zone := discovery.NewZone()
	zone.Update(in)
	var names [][]byte
	for _, s := range in.Services {
		names = append(names, []byte(discovery.Wire(s.Document.Name.Name+"."+s.Document.Namespace+".svc.cluster.local")))
	}
	table := zone.Table()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if table.Lookup(names[i%len(names)], discovery.TypeA).Outcome != discovery.Answer {
			b.Fatal("no answer")
		}
	}
}
