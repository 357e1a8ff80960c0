package daemon

import (
	"fmt"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler/discovery/dns"
	"github.com/poplin-net/poplin/schema"
)

// status is what the server has done, and what stands in its way.
func (r *resolver) status(c *schema.Cluster) (api.DNS, []api.Problem) {
	if !c.DNS.Enabled {
		return api.DNS{}, nil
	}
	stats := r.server.Stats()
	return api.DNS{Enabled: true, Domain: c.DNS.Domain, Stats: stats}, dnsProblems(stats)
}

// dnsProblems leaves out what a host without any resolver of its own is told
// where DNS is looked at: that is its choice.
func dnsProblems(s dns.Stats) []api.Problem {
	var out []api.Problem
	hindered := map[string]bool{}
	for _, l := range s.Listeners {
		if what := l.Problem(); what != "" {
			hindered[what] = true
			out = append(out, api.Problem{What: what, Remedy: fmt.Sprintf("stop who has the port: ss -lnptu sport = :%d", l.Address.Port())})
		}
	}
	for _, what := range s.Problems {
		if !hindered[what] && len(s.Upstreams) > 0 {
			out = append(out, api.Problem{What: what, Remedy: "mend spec.dns.upstreams of the Cluster, or without them the node's resolv.conf"})
		}
	}
	return out
}
