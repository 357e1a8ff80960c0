package services

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

func formatOutside(o Outside) string {
	var b strings.Builder
	for _, a := range o.Balancers {
		node := a.Node
		if node == "" {
			node = "nobody"
		}
		fmt.Fprintf(&b, "%s announces %s of", node, a.Address)
		for _, s := range a.Services {
			fmt.Fprintf(&b, " %s", s.Meta.Name)
		}
		for _, s := range a.Closed {
			fmt.Fprintf(&b, ", closed %s", s.Meta.Name)
		}
		b.WriteString("\n")
	}
	for _, h := range o.HealthChecks {
		fmt.Fprintf(&b, "health check of %s on %d: %d ready here\n", h.Service.Meta.Name, h.Port, h.Ready)
	}
	for _, p := range o.LocalPorts {
		fmt.Fprintf(&b, "%s on %s to %s\n", p.Service.Meta.Name, p.At, p.Target)
	}
	return b.String()
}

// cluster is a view of nodes from one of them; those in failed are silent.
func clusterView(self string, nodes, failed []string) view.View {
	v := view.View{Self: view.Self{Name: self, Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}}}
	for _, n := range nodes {
		state := view.Alive
		if slices.Contains(failed, n) {
			state = view.Failed
		}
		if n != self {
			v.Peers = append(v.Peers, view.Peer{Name: n, State: state, Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}})
		}
	}
	return v
}

// TestBalancersMove holds what clients rely on: all nodes come to the same
// announcers, each has its share, and only the addresses of a node that fails
// go elsewhere.
func TestBalancersMove(t *testing.T) {
	const addresses = 300
	config := &schema.Config{Cluster: &schema.Cluster{}}
	service := &schema.Service{Type: schema.LoadBalancer}
	for i := range addresses {
		service.PoolIPs = append(service.PoolIPs, netip.AddrFrom4([4]byte{198, 51, byte(i / 256), byte(i)}))
	}
	config.Services = []*schema.Service{service}
	r := NewResolver(config)
	nodes := []string{"alpha", "beta", "gamma", "node-1", "node-2"}
	announcers := func(self string, failed ...string) map[netip.Addr]string {
		out := map[netip.Addr]string{}
		for _, b := range r.Outside(clusterView(self, nodes, failed), Host{Node: self}).Balancers {
			out[b.Address] = b.Node
		}
		return out
	}
	before := announcers("alpha")
	share := map[string]int{}
	for _, n := range before {
		share[n]++
	}
	for _, n := range nodes {
		if share[n] < addresses/len(nodes)/2 {
			t.Errorf("%s announces %d of %d addresses", n, share[n], addresses)
		}
		for a, other := range announcers(n) {
			if before[a] != other {
				t.Errorf("%s: %s says %s, alpha %s", a, n, other, before[a])
			}
		}
	}
	for a, now := range announcers("alpha", "beta") {
		if now == "beta" || before[a] != "beta" && now != before[a] {
			t.Errorf("%s went from %s to %s when beta failed", a, before[a], now)
		}
	}
	if alone := announcers("beta", "alpha", "gamma", "node-1", "node-2"); len(alone) != addresses || alone[service.PoolIPs[0]] != "beta" {
		t.Errorf("a node that is cut off announces %d of %d addresses itself", len(alone), addresses)
	}
}
