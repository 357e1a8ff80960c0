package daemon

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/discovery/dns"
	"github.com/poplin-net/poplin/schema"
)

// dnsPort is where the node's DNS answers.
const dnsPort = 53

// resolver is the node's DNS: a zone that follows what rounds compute, the
// server that answers from it, and what tells systemd-resolved of it. The
// loop's goroutine follows; run has goroutines of its own.
type resolver struct {
	zone     *discovery.Zone
	server   *dns.Server
	resolved *resolved
	rate     int // queries a second of a client; 0: any number
}

func newResolver(o Options) *resolver {
	r := &resolver{zone: discovery.NewZone(), resolved: newResolved(systemBus, o.Log), rate: o.DNSRate}
	r.server = dns.New(dns.Options{Zone: r.zone, Settings: dns.Settings{Rate: r.rate}, Log: o.Log})
	return r
}

// run serves until ctx ends.
func (r *resolver) run(ctx context.Context) error {
	tell := make(chan error, 1)
	go func() { tell <- r.resolved.run(ctx) }()
	err := r.server.Run(ctx)
	return errors.Join(err, <-tell)
}

// follow has zone and server follow the goal of a round. Before gossip has
// been heard there is no zone, unless there was one: answers without the pods
// of other nodes would be wrong ones.
func (r *resolver) follow(f facts, g goal) {
	c := f.revision.Config.Cluster
	if !c.DNS.Enabled {
		r.server.Configure(dns.Settings{Rate: r.rate})
		r.resolved.want(linkDNS{})
		return
	}
	if !f.gossip || f.members.Joined || r.zone.Table() != nil {
		r.zone.Update(discovery.Input{Cluster: c, Services: g.Services, View: g.view, Underlay: g.host.Underlay.Addresses})
	}
	r.server.Configure(dnsSettings(c, g, r.rate))
	if len(g.Subnets) > 0 {
		r.resolved.want(linkDNS{link: g.Subnets[0].Bridge, servers: c.DNS.Addresses, domain: c.DNS.Domain})
	}
}

// dnsSettings says where the server listens and whom it answers: pods of the
// cluster, this host, and whom the Cluster allows.
func dnsSettings(c *schema.Cluster, g goal, rate int) dns.Settings {
	s := dns.Settings{Upstreams: c.DNS.Upstreams, Rate: rate, Allowed: slices.Concat(c.PodCIDRs, c.DNS.AllowFrom)}
	for _, a := range g.host.Underlay.Addresses {
		s.Allowed = append(s.Allowed, netip.PrefixFrom(a, a.BitLen()))
	}
	if len(g.Subnets) == 0 {
		return s // there is no bridge with the addresses
	}
	at := slices.Clone(c.DNS.Addresses)
	for _, sub := range g.Subnets {
		at = append(at, sub.Gateways...)
	}
	for _, a := range at {
		s.Addresses = append(s.Addresses, netip.AddrPortFrom(a, dnsPort))
	}
	return s
}
