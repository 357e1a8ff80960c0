package daemon

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/discovery/dns"
	"github.com/poplin-net/poplin/schema"
)

func dnsCluster() *schema.Cluster {
	c := &schema.Cluster{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}}
	c.DNS.Enabled, c.DNS.Domain = true, "cluster.local"
	c.DNS.Addresses = []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	c.DNS.AllowFrom = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	return c
}

func dnsGoal(subnets ...string) goal {
	var g goal
	g.host.Underlay.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	for _, text := range subnets {
		p := netip.MustParsePrefix(text)
		g.Subnets = append(g.Subnets, compile.Subnet{Bridge: "poplin-br0", Prefixes: []netip.Prefix{p}, Gateways: []netip.Addr{p.Addr().Next()}})
	}
	return g
}

// The server listens on the bridge only, and answers pods, this host, and
// whom the Cluster names.
func TestDNSSettings(t *testing.T) {
	s := dnsSettings(dnsCluster(), dnsGoal("10.244.1.0/24", "10.244.9.0/24"), 7)
	var at []string
	for _, a := range s.Addresses {
		at = append(at, a.String())
	}
	if want := []string{"10.96.0.10:53", "10.244.1.1:53", "10.244.9.1:53"}; !slices.Equal(at, want) || s.Rate != 7 {
		t.Errorf("listens on %v, want %v; rate %d", at, want, s.Rate)
	}
	allowed := func(text string) bool {
		return slices.ContainsFunc(s.Allowed, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(text)) })
	}
	for text, want := range map[string]bool{
		"10.244.2.9": true, "192.0.2.1": true, "198.51.100.7": true, "192.0.2.2": false, "203.0.113.1": false, "10.96.0.20": false,
	} {
		if allowed(text) != want {
			t.Errorf("%s may ask: %t", text, !want)
		}
	}
	if s := dnsSettings(dnsCluster(), dnsGoal(), 0); len(s.Addresses) != 0 {
		t.Errorf("without a bridge it listens on %v", s.Addresses)
	}
}

// There is no zone before gossip has told of pods elsewhere, and once there
// is one it stays.
func TestZoneWaitsForGossip(t *testing.T) {
	r := newResolver(Options{Log: slog.New(slog.DiscardHandler)})
	f := facts{gossip: true, revision: &revision{Config: &schema.Config{Cluster: dnsCluster()}}}
	g := dnsGoal("10.244.1.0/24")
	r.follow(f, g)
	if r.zone.Table() != nil {
		t.Fatal("there is a zone")
	}
	f.members.Joined = true
	r.follow(f, g)
	if r.zone.Table() == nil {
		t.Fatal("there is no zone")
	}
	first := r.zone.Table()
	f.members.Joined = false
	f.revision.Config.Cluster.DNS.Domain = "example.net"
	r.follow(f, g)
	if r.zone.Table() == first || r.zone.Table().Lookup([]byte(discovery.Wire("dns-version.example.net")), discovery.TypeTXT).Outcome != discovery.Answer {
		t.Error("the zone does not follow")
	}
}

// What cannot be listened on, and upstreams that fail, are problems; a host
// without any upstream has none.
func TestDNSProblems(t *testing.T) {
	at := netip.MustParseAddrPort("10.96.0.10:53")
	s := dns.Stats{Listeners: []dns.ListenerStats{{Address: at, Error: "address already in use"}, {Address: at}}}
	s.Problems = []string{s.Listeners[0].Problem(), "DNS has no upstream"}
	if got := dnsProblems(s); len(got) != 1 || got[0].Remedy != "stop who has the port: ss -lnptu sport = :53" {
		t.Errorf("%+v", got)
	}
	s.Upstreams = []dns.UpstreamStats{{State: "down"}}
	s.Problems[1] = "upstream 192.0.2.53:53 does not answer"
	if got := dnsProblems(s); len(got) != 2 || got[1].What != s.Problems[1] {
		t.Errorf("%+v", got)
	}
}
