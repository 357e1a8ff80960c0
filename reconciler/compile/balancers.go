package compile

import (
	"fmt"
	"net/netip"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/services"
)

// announcedHere are the balancers that this node answers for.
func (b *builder) announcedHere(all []services.Balancer) []services.Balancer {
	if len(b.subnets) == 0 || b.Host.Underlay.Link == "" || len(all) == 0 {
		return nil
	}
	kept := map[netip.Addr]bool{}
	if b.Unheard {
		for _, o := range b.Observed.Objects() {
			if p, ok := o.(reconciler.ProxyNeighbour); ok {
				kept[p.Address] = true
			}
		}
	}
	var out []services.Balancer
	for _, a := range all {
		mine := a.Node == b.Host.Node && !b.Unheard || kept[a.Address]
		if mine && b.has(reconciler.FamilyOf(a.Address)) {
			out = append(out, a)
		}
	}
	return out
}

func addressesOf(list []services.Balancer) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, a.Address)
	}
	return out
}

// balancers asks for what makes this node answer for load balancer addresses.
// The kernel answers, not the daemon, so that a restart, or the end, of the
// daemon changes nothing.
//
// An address is a proxy neighbour on the underlay's link, not an address of
// any link: as one of the host's own it would be the source of connections,
// take node ports and whatever else listens on all addresses, and services
// that are not ours would be reached at it. The route to the bridge is never
// taken by packets for a port of the service, whose destination is changed
// before; it is there because the kernel answers ARP only for what is not on
// the link that asks.
func (b *builder) balancers() []*reconciler.Group {
	var groups []*reconciler.Group
	var settings []reconciler.Object
	seen := map[reconciler.Family]bool{}
	link := b.Host.Underlay.Link
	for _, a := range b.announced {
		family := reconciler.FamilyOf(a.Address)
		b.closed(a)
		groups = append(groups, &reconciler.Group{
			Name: "load balancer " + a.Address.String(), Origin: b.origin(a.Services[0].Place),
			Objects: []reconciler.Object{
				reconciler.Route{Destination: netip.PrefixFrom(a.Address, a.Address.BitLen()), Link: b.subnets[0].Bridge, Source: b.source(family)},
				reconciler.ProxyNeighbour{Address: a.Address, Link: link},
			},
		})
		if !seen[family] {
			seen[family] = true
			settings = append(settings, proxySettings(link, family)...)
		}
	}
	return append(groups, &reconciler.Group{Name: "load balancers", Origin: b.origin(b.cluster.Place), Objects: settings})
}

// closed reports services that nobody reaches at an address that this node
// answers for. One that is about to be another node's is not its to judge.
func (b *builder) closed(a services.Balancer) {
	if a.Node != b.Host.Node {
		return
	}
	for _, s := range a.Closed {
		remedy := "undrain a node that has endpoints of it, or write externalTrafficPolicy: Cluster"
		if len(a.Services) > 1 {
			remedy = "give it a load balancer address of its own, or externalTrafficPolicy: Cluster"
		}
		b.problem(
			fmt.Sprintf("service %s: nobody outside reaches it at %s, which this node announces: its externalTrafficPolicy is Local, and it has no endpoint here", s.Meta.Name, a.Address),
			fmt.Sprintf("run an endpoint of it on %s; or %s", b.Host.Node, remedy))
	}
}

// proxySettings are what proxy neighbours need of a link, which is not ours.
// Without the first the kernel lets everybody who asks wait for up to 0.8 s
// (RFC 4861 section 7.2.8, for the case that the owner answers too; here there
// is no other).
func proxySettings(link string, family reconciler.Family) []reconciler.Object {
	version := "ipv4"
	if family == reconciler.IPv6 {
		version = "ipv6"
	}
	out := []reconciler.Object{reconciler.Sysctl{Name: fmt.Sprintf("net/%s/neigh/%s/proxy_delay", version, link), Value: "0"}}
	if family == reconciler.IPv6 {
		out = append(out, reconciler.Sysctl{Name: fmt.Sprintf("net/ipv6/conf/%s/proxy_ndp", link), Value: "1"})
	}
	return out
}
