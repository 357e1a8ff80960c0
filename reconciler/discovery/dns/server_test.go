package dns_test

import (
	"testing"

	wire "github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery/dns"
)

func TestAnswersFromTheZone(t *testing.T) {
	_, at := started(t, zoneOf(web()), dns.Settings{})
	for _, network := range []string{"udp", "tcp"} {
		r := ask(t, network, at, "WeB.default.svc.Cluster.Local.", wire.TypeA)
		if r.Rcode != wire.RcodeSuccess || !r.Authoritative || !r.RecursionAvailable || len(r.Answer) != 1 {
			t.Fatalf("%s: %v", network, r)
		}
		if got := r.Answer[0].String(); got != "WeB.default.svc.Cluster.Local.\t5\tIN\tA\t10.96.0.20" {
			t.Errorf("%s: %s", network, got)
		}
		r = ask(t, network, at, "web.default.svc.cluster.local.", wire.TypeAAAA)
		if r.Rcode != wire.RcodeSuccess || len(r.Answer) != 0 || len(r.Ns) != 1 {
			t.Errorf("%s: %v", network, r)
		}
		r = ask(t, network, at, "none.default.svc.cluster.local.", wire.TypeA)
		if r.Rcode != wire.RcodeNameError || len(r.Ns) != 1 || r.Ns[0].Header().Name != "cluster.local." {
			t.Errorf("%s: %v", network, r)
		}
	}
}
