package main

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler/discovery/dns"
	"github.com/poplin-net/poplin/schema"
)

var statusNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// before is a time that long before statusNow.
func before(d time.Duration) *time.Time {
	t := statusNow.Add(-d)
	return &t
}

func sampleStatus() api.Status {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	return api.Status{
		Node: "node-1", Cluster: "quickstart", Version: "v0.3.0", Started: *before(3 * time.Hour), Ready: true, InSync: true,
		Revision: "main@4f2c9e1", Digest: "sha256:1", Accepted: before(12 * time.Second), Applied: before(11 * time.Second),
		Source:   api.Source{State: "ok", Path: "/etc/poplin/config", Target: "worktrees/4f2c9e1"},
		Underlay: api.Underlay{Link: "eth0", Addresses: []netip.Addr{addr("192.0.2.1")}, MTU: 1500},
		Overlay: api.Overlay{Backend: "udp", Port: 8285, MTU: 1472, Peers: []api.TunnelPeer{
			{Node: "node-2", SentPackets: 12, SentBytes: 3400, ReceivedPackets: 11, ReceivedBytes: 990},
		}},
		Subnets: []api.Subnet{{CIDRs: []netip.Prefix{prefix("10.244.1.0/24")}, Class: "pinned", Origin: "subnets.yaml:1", Bridge: "poplin-br0", Pods: 5}},
		Peers: []api.Peer{
			{Name: "node-2", State: "alive", Address: "192.0.2.2", Subnets: []netip.Prefix{prefix("10.244.2.0/24")}, MTU: 1472, Revision: "main@4f2c9e1", Digest: "sha256:1", Pods: 4, PodsReady: 4, Seen: before(400 * time.Millisecond)},
			{Name: "node-3", State: "failed", Address: "192.0.2.3", Subnets: []netip.Prefix{prefix("10.244.3.0/24")}, MTU: 1472, Revision: "main@a01bb3c", Digest: "sha256:0", Pods: 3, Seen: before(41 * time.Second)},
			{Name: "node-4", State: "alive", Address: "192.0.2.4", MTU: 1472, Revision: "main@4f2c9e1", Digest: "sha256:1", Rejected: &api.PeerRejected{Revision: "main@bad", Error: "web.yaml:3: unknown field"}, Seen: before(time.Second)},
			{Name: "router", State: "alive", Address: "192.0.2.9", Subnets: []netip.Prefix{prefix("10.244.9.0/24")}, External: true},
		},
		Pods: []api.Pod{
			{Namespace: "default", Name: "web-1", Addresses: []netip.Addr{addr("10.244.1.2"), addr("fd00::2")}, Ready: true, Netns: "/run/netns/default_web-1"},
			{Namespace: "default", Name: "web-2", Addresses: []netip.Addr{addr("10.244.1.3")}, Netns: "/run/netns/default_web-2", Up: true, Reason: "nothing listens on TCP port 8080"},
			{Namespace: "default", Name: "proxy", Addresses: []netip.Addr{addr("192.0.2.1")}, Ready: true, HostNetwork: true},
		},
		Services: 2, Endpoints: 34, EndpointsReady: 31,
		ServiceList: []api.Service{
			{Namespace: "default", Name: "web", Type: "NodePort", ClusterIPs: []netip.Addr{addr("10.96.0.10")}, Ports: []string{"80:30080/TCP", "81/UDP"}, Endpoints: 4, EndpointsReady: 3,
				Frontends: []api.Frontend{
					{Kind: "clusterIP", Family: "IPv4", Address: addr("10.96.0.10"), Protocol: "TCP", Port: 80, PortName: "http", Endpoints: 4, EndpointsReady: 3,
						Counters: &api.Counters{Connections: 1200, Packets: 34567, Bytes: 9_996_000}},
					{Kind: "nodePort", Family: "IPv4", Protocol: "TCP", Port: 30080, PortName: "http", Endpoints: 4, EndpointsReady: 3, Counters: &api.Counters{}},
					{Kind: "nodePort", Family: "IPv6", Protocol: "TCP", Port: 30080, PortName: "http", Endpoints: 4, EndpointsReady: 3, Counters: &api.Counters{}},
					{Kind: "clusterIP", Family: "IPv6", Address: addr("fd96::10"), Protocol: "UDP", Port: 10000, LastPort: 10999, Endpoints: 4, EndpointsReady: 3},
				}},
			{Namespace: "default", Name: "mail", Type: "LoadBalancer", ClusterIPs: []netip.Addr{addr("10.96.0.11")}, Ports: []string{"25/TCP"}, Endpoints: 1,
				Frontends: []api.Frontend{{Kind: "clusterIP", Family: "IPv4", Address: addr("10.96.0.11"), Protocol: "TCP", Port: 25, Endpoints: 1, Counters: &api.Counters{Connections: 1, Packets: 12, Bytes: 900}}}},
			{Namespace: "default", Name: "lb", Type: "LoadBalancer", ExternalIPs: []netip.Addr{addr("192.0.2.240"), addr("2001:db8::f0")}, Endpoints: 1, EndpointsReady: 1,
				Announced: []api.Announced{{Address: addr("192.0.2.240"), Node: "node-2"}, {Address: addr("2001:db8::f0")}},
				Frontends: []api.Frontend{
					{Kind: "loadBalancer", Family: "IPv4", Address: addr("192.0.2.240"), Protocol: "TCP", Port: 80, Endpoints: 1, EndpointsReady: 1},
					{Kind: "loadBalancer", Family: "IPv6", Address: addr("2001:db8::f0"), Protocol: "TCP", Port: 80, Endpoints: 1, EndpointsReady: 1},
				}},
			{Namespace: "default", Name: "db", Type: "ClusterIP", Ports: []string{"5432/TCP"}, Endpoints: 1, EndpointsReady: 1},
			{Namespace: "default", Name: "far", Type: "ExternalName"},
		},
		Drift: 2, LastDrift: &api.Drift{What: "route 10.244.3.0/24", At: *before(3 * time.Minute)},
		Dropped:  map[string]int{"unknown-source": 3, "short": 1},
		Problems: []api.Problem{{What: "Docker's FORWARD policy drops pod traffic", Remedy: "iptables -I DOCKER-USER -i poplin-br0 -j ACCEPT"}},
	}
}

func withDNS() api.Status {
	at := netip.MustParseAddrPort
	return api.Status{DNS: &api.DNS{Enabled: true, Domain: "cluster.local", Stats: dns.Stats{
		Ready: true, Names: 1234, Queries: map[string]uint64{"A": 90, "AAAA": 120, "SRV": 0}, Rcodes: map[string]uint64{"NOERROR": 205, "SERVFAIL": 5},
		Zone: 180, Cached: 20, Stale: 1, Forwarded: 9, TCP: 2, Dropped: 3, Refused: 4, Limited: 5, Busy: 6, InFlight: 1, Connections: 7,
		Limits: dns.Limits{Rate: 100, InFlight: 2048, Connections: 512, ConnectionsPerClient: 32},
		Cache:  dns.CacheStats{Entries: 12, Bytes: 3100, Limit: 8 << 20},
		Upstreams: []dns.UpstreamStats{
			{Address: at("192.0.2.53:53"), State: "up", Queries: 9, Latency: 1234567},
			{Address: at("[2001:db8::53]:53"), State: "down", Queries: 3, Failures: 3},
		},
		Listeners: []dns.ListenerStats{{Address: at("10.96.0.10:53")}, {Address: at("10.244.1.1:53"), Error: "address already in use"}},
		Problems:  []string{"DNS does not listen on 10.244.1.1:53: address already in use"},
	}}}
}

func TestStatusText(t *testing.T) {
	waiting := api.Status{Node: "node-1", Version: "v0.3.0", Started: *before(5 * time.Second), Ready: true, Waiting: "documents", Source: api.Source{State: "waiting", Path: "/etc/poplin/config"}}
	trouble := sampleStatus()
	trouble.InSync = false
	trouble.Rejected = &api.Rejected{Revision: "main@bad", Diagnostics: []schema.Diagnostic{
		{Severity: schema.Warning, File: "a.yaml", Line: 1, Message: "a selector that matches nothing"},
		{Severity: schema.Error, File: "web.yaml", Line: 3, Message: "unknown field \"frob\""},
		{Severity: schema.Error, File: "web.yaml", Line: 9, Message: "no such thing"},
	}}
	trouble.HeldBack = &api.HeldBack{Revision: "main@less", Reason: "9 of 12 documents would go, more than 6"}
	trouble.Source = api.Source{State: "missing", Path: "/etc/poplin/config", Polling: true}
	trouble.Claims = []api.Claim{{Subnet: netip.MustParsePrefix("10.244.5.0/24"), Class: "proposed"}, {Subnet: netip.MustParsePrefix("10.244.6.0/24"), Class: "confirmed"}}
	for name, c := range map[string]struct {
		status api.Status
		part   string
	}{
		"status":          {sampleStatus(), ""},
		"status-peers":    {sampleStatus(), "peers"},
		"status-pods":     {sampleStatus(), "pods"},
		"status-services": {sampleStatus(), "services"},
		"status-overlay":  {sampleStatus(), "overlay"},
		"status-dns":      {withDNS(), "dns"},
		"status-no-dns":   {api.Status{DNS: &api.DNS{}}, "dns"},
		"status-waiting":  {waiting, ""},
		"status-trouble":  {trouble, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			must(t, writeStatus(&out, c.status, c.part, statusNow))
			golden(t, name, out.String())
		})
	}
}

func TestAmount(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1.0k", 9949: "9.9k", 9950: "10k", 999_499: "999k", 999_500: "1.0M", 1<<64 - 1: "18E"} {
		if got := amount(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond: "0.4 s", 11 * time.Second: "11 s", 119 * time.Second: "119 s", 3 * time.Minute: "3 m",
		119 * time.Minute: "119 m", 3 * time.Hour: "3 h", 72 * time.Hour: "3 d",
	} {
		if got := ago(statusNow, *before(d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
