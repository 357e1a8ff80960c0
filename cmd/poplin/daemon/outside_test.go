package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler/announce"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// TestHealthSockets: a health check answers where node ports do.
func TestHealthSockets(t *testing.T) {
	underlay := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	ranges := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	for name, test := range map[string]struct {
		primary, all bool
		ranges       []netip.Prefix
		families     []schema.Family
		want         string
	}{
		"primary":            {primary: true, families: []schema.Family{schema.IPv4, schema.IPv6}, want: "192.0.2.1:30090 [] [2001:db8::1]:30090 []"},
		"of one family":      {primary: true, families: []schema.Family{schema.IPv6}, want: "[2001:db8::1]:30090 []"},
		"all":                {all: true, ranges: ranges, families: []schema.Family{schema.IPv4}, want: "0.0.0.0:30090 []"},
		"ranges":             {ranges: ranges, families: []schema.Family{schema.IPv4}, want: "0.0.0.0:30090 [198.51.100.0/24]"},
		"ranges and primary": {primary: true, ranges: ranges, families: []schema.Family{schema.IPv4}, want: "0.0.0.0:30090 [198.51.100.0/24 192.0.2.1/32 2001:db8::1/128]"},
	} {
		config := &schema.Config{Cluster: &schema.Cluster{}}
		n := &config.Cluster.NodePortAddresses
		n.Primary, n.All, n.CIDRs = test.primary, test.all, test.ranges
		f := facts{revision: &revision{Config: config}, underlay: compile.Underlay{Addresses: underlay}}
		check := services.HealthCheck{Service: &schema.Service{Families: test.families}, Port: 30090, Ready: 3}
		var got []string
		for _, s := range healthSockets(f, check, true) {
			got = append(got, fmt.Sprint(s.At, " ", s.Within))
			if s.HealthCheck.Ready != 3 || !s.HealthCheck.Healthy {
				t.Errorf("%s: %+v", name, s.HealthCheck)
			}
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: got %s, want %s", name, text, test.want)
		}
	}
}

func TestHeld(t *testing.T) {
	joined := facts{gossip: true, members: overlay.Snapshot{Joined: true}}
	g := goal{host: compile.Host{Underlay: compile.Underlay{Link: "eth0"}}}
	g.Announced = []netip.Addr{netip.MustParseAddr("192.0.2.240")}
	g.view.Peers = []view.Peer{{Name: "node-2", State: view.Alive}}
	plain := held(joined, g, 1)
	if !slices.Equal(plain.Addresses, g.Announced) || plain.Link != "eth0" || plain.Rivals {
		t.Errorf("got %+v", plain)
	}
	if again := held(joined, g, 1); again.Occasion != plain.Occasion {
		t.Error("the same is another occasion")
	}
	if unheard := held(facts{gossip: true}, g, 1); len(unheard.Addresses) > 0 {
		t.Error("neighbours are told before gossip was heard")
	}
	accused := joined
	accused.members.Accused = 1
	silent := g
	silent.view.Peers = []view.Peer{{Name: "node-2", State: view.Failed}}
	for name, h := range map[string]announce.Held{
		"taken again": held(joined, g, 2), "thought silent": held(accused, g, 1), "a silent node": held(joined, silent, 1),
	} {
		if h.Occasion == plain.Occasion {
			t.Errorf("%s is no occasion", name)
		}
	}
	if !held(joined, silent, 1).Rivals {
		t.Error("a silent node is no rival")
	}
}

func TestUnrunProbes(t *testing.T) {
	config := &schema.Config{Pods: []*schema.Pod{
		{Meta: schema.Meta{Name: schema.Name{Namespace: "default", Name: "here"}}, NodeName: "node-1", Probes: []schema.Probe{{Exec: []string{"true"}}}},
		{Meta: schema.Meta{Name: schema.Name{Namespace: "default", Name: "there"}}, NodeName: "node-2", Probes: []schema.Probe{{Exec: []string{"true"}}}},
	}}
	got := unrunProbes(Options{Node: "node-1"}, config)
	if len(got) != 1 || !strings.Contains(got[0].What, "default/here") || !strings.Contains(got[0].Remedy, "--exec-probes") {
		t.Errorf("got %v", got)
	}
	if got := unrunProbes(Options{Node: "node-1", ExecProbes: true}, config); len(got) > 0 {
		t.Errorf("with --exec-probes: %v", got)
	}
}
