package compile

import (
	"crypto/sha256"
	"fmt"
	"net/netip"

	"github.com/poplin-net/poplin/reconciler"
)

// host asks for what the node has whatever pods and peers there are: one
// bridge per bridge name, its addresses and routes, forwarding, the tunnel.
func (b *builder) host() []*reconciler.Group {
	if len(b.subnets) == 0 {
		return nil
	}
	groups := []*reconciler.Group{b.settings()}
	seen := map[string]bool{}
	for _, s := range b.subnets {
		groups = append(groups, b.subnet(s, !seen[s.Bridge]))
		seen[s.Bridge] = true
	}
	return append(groups, b.tunnels()...)
}

// settings are the host-wide ones, and the routes that give the host itself
// a way, and a source address, towards services.
func (b *builder) settings() *reconciler.Group {
	g := &reconciler.Group{Name: "host", Origin: b.origin(b.cluster.Place)}
	if b.has(reconciler.IPv4) {
		g.Objects = append(g.Objects, reconciler.Sysctl{Name: "net/ipv4/ip_forward", Value: "1"})
	}
	if b.has(reconciler.IPv6) {
		g.Objects = append(g.Objects, reconciler.Sysctl{Name: "net/ipv6/conf/all/forwarding", Value: "1"})
	}
	// So that no connection of the host's own takes a node port as its source.
	ports := b.cluster.NodePortRange
	g.Objects = append(g.Objects, reconciler.Sysctl{Name: "net/ipv4/ip_local_reserved_ports", Value: fmt.Sprintf("%d-%d", ports.First, ports.Last)})
	for _, p := range b.cluster.ServiceCIDRs {
		if source := b.source(reconciler.FamilyOf(p.Addr())); source.IsValid() {
			g.Objects = append(g.Objects, reconciler.Route{Destination: p, Link: b.subnets[0].Bridge, Source: source})
		}
	}
	return g
}

// subnet asks for a subnet's part of its bridge, and with first set for the
// bridge itself.
func (b *builder) subnet(s Subnet, first bool) *reconciler.Group {
	name := "subnet " + s.Prefixes[0].String()
	if s.Name != "" {
		name = "subnet " + s.Name
	}
	g := &reconciler.Group{Name: name, Origin: b.origin(s.Place)}
	if first {
		g.Objects = append(g.Objects, b.bridge(s)...)
	}
	for i, p := range s.Prefixes {
		g.Objects = append(g.Objects,
			reconciler.Address{Link: s.Bridge, Prefix: netip.PrefixFrom(s.Gateways[i], p.Bits())},
			reconciler.Route{Destination: p, Link: s.Bridge, Source: s.Gateways[i]})
	}
	return g
}

// bridge hands bridged packets to netfilter where br_netfilter is there, so
// that services work between pods of one bridge. Where it is not, ports are
// isolated and the bridge answers ARP for them, so that all packets between
// pods are routed.
func (b *builder) bridge(s Subnet) []reconciler.Object {
	objects := []reconciler.Object{reconciler.Link{
		Name: s.Bridge, Type: reconciler.LinkBridge, Alias: b.alias(s.Bridge),
		MAC: deriveMAC(b.cluster.Meta.Name.Name, b.Host.Node, s.Bridge), MTU: b.subnetMTU(s),
		CallIPTables: b.Host.BridgeNetfilter, CallIP6Tables: b.Host.BridgeNetfilter,
	}}
	if b.has(reconciler.IPv4) {
		objects = append(objects, linkSysctl(s.Bridge, "ipv4", "rp_filter", "2"))
		if !b.Host.BridgeNetfilter {
			objects = append(objects, linkSysctl(s.Bridge, "ipv4", "proxy_arp_pvlan", "1"))
		}
	}
	if b.has(reconciler.IPv6) {
		objects = append(objects, linkSysctl(s.Bridge, "ipv6", "disable_ipv6", "0"))
	}
	return objects
}

// linkSysctl is a setting that a link has in a family.
func linkSysctl(link, family, name, value string) reconciler.Sysctl {
	return reconciler.Sysctl{Link: link, Name: fmt.Sprintf("net/%s/conf/%s/%s", family, link, name), Value: value}
}

// deriveMAC makes a locally administered unicast address from names, so that
// a link made anew has the address that its neighbours know.
func deriveMAC(names ...string) reconciler.MAC {
	h := sha256.New()
	for _, n := range names {
		h.Write(append([]byte(n), 0))
	}
	var mac reconciler.MAC
	copy(mac[:], h.Sum(nil))
	mac[0] = mac[0]&^1 | 2
	return mac
}
