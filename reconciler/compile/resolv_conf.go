package compile

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/schema"
)

// etcNetns has a directory for each network namespace, whose files `ip netns
// exec`, `poplin exec` and podman put in place of those in /etc (ip-netns(8)).
const etcNetns = "/etc/netns"

// dnsAddresses puts the addresses of DNS on the node's bridge: a node's own
// server answers there, so that pods everywhere use the same ones and no
// packet of DNS is translated.
func (b *builder) dnsAddresses() *reconciler.Group {
	if !b.cluster.DNS.Enabled || len(b.subnets) == 0 || len(b.cluster.DNS.Addresses) == 0 {
		return nil
	}
	g := &reconciler.Group{Name: "dns", Origin: b.origin(b.cluster.Place)}
	for _, a := range b.cluster.DNS.Addresses {
		g.Objects = append(g.Objects, reconciler.Address{Link: b.subnets[0].Bridge, Prefix: netip.PrefixFrom(a, a.BitLen())})
	}
	return g
}

// resolvConf asks for the pod's resolv.conf: where what enters the network
// namespace by its name looks for it, and where a systemd unit can bind it
// from. A pod in the host's network has one only if it wants another one than
// the host's.
func (b *builder) resolvConf(p *schema.Pod, addresses []netip.Addr) []reconciler.Object {
	if b.Host.RunDir == "" || p.HostNetwork && !ownResolver(p) {
		return nil
	}
	name := reconciler.NamespaceName(p.Namespace, p.Meta.Name.Name)
	file := b.file(path.Join("pods", name, "resolv.conf"), resolvText(b.resolver(p, addresses)))
	objects := []reconciler.Object{file}
	if !p.HostNetwork {
		file.Path = path.Join(etcNetns, name, "resolv.conf")
		objects = append(objects, file)
	}
	return objects
}

// ownResolver reports whether a pod in the host's network has a resolv.conf of
// its own.
func ownResolver(p *schema.Pod) bool {
	return p.DNSPolicy == schema.DNSNone || p.DNSPolicy == schema.DNSClusterFirstWithHostNet ||
		len(p.DNSConfig.Nameservers)+len(p.DNSConfig.Searches)+len(p.DNSConfig.Options) > 0
}

// needsHostResolver reports whether a pod's resolv.conf is made of the host's:
// by its policy, or since the cluster has no DNS, as with kubelet.
func needsHostResolver(c *schema.Cluster, p *schema.Pod) bool {
	switch p.DNSPolicy {
	case schema.DNSNone:
		return false
	case schema.DNSDefault:
		return true
	case schema.DNSClusterFirstWithHostNet:
		return !c.DNS.Enabled
	}
	return !c.DNS.Enabled || p.HostNetwork
}

// resolver says what a pod's resolv.conf has: what its policy gives and after
// that what its dnsConfig adds, as kubelet joins them (appendDNSConfig in
// pkg/kubelet/network/dns).
func (b *builder) resolver(p *schema.Pod, addresses []netip.Addr) schema.DNSConfig {
	var base schema.DNSConfig
	switch {
	case needsHostResolver(b.cluster, p):
		base = b.Host.Resolver
	case p.DNSPolicy != schema.DNSNone:
		domain := b.cluster.DNS.Domain
		base = schema.DNSConfig{
			Nameservers: b.dnsServers(p, addresses),
			Searches:    []string{p.Namespace + ".svc." + domain, "svc." + domain, domain},
			Options:     []schema.DNSOption{{Name: "ndots", Value: strconv.Itoa(b.cluster.DNS.NDots)}},
		}
	}
	return schema.DNSConfig{
		Nameservers: distinct(base.Nameservers, p.DNSConfig.Nameservers),
		Searches:    distinct(base.Searches, p.DNSConfig.Searches),
		Options:     mergeOptions(base.Options, p.DNSConfig.Options),
	}
}

// dnsServers are the addresses of DNS in the families that a pod has, or else
// those of its node's bridge.
func (b *builder) dnsServers(p *schema.Pod, addresses []netip.Addr) []netip.Addr {
	if p.HostNetwork {
		return b.cluster.DNS.Addresses
	}
	var servers, gateways []netip.Addr
	for _, a := range addresses {
		for _, d := range b.cluster.DNS.Addresses {
			if d.Is4() == a.Is4() {
				servers = append(servers, d)
			}
		}
		if _, gateway, ok := b.around(a); ok {
			gateways = append(gateways, gateway)
		}
	}
	if len(servers) == 0 {
		return gateways
	}
	return servers
}

// distinct joins lists without what was there before.
func distinct[T comparable](lists ...[]T) []T {
	var out []T
	for _, v := range slices.Concat(lists...) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// mergeOptions puts options in place of those of the same name.
func mergeOptions(base, more []schema.DNSOption) []schema.DNSOption {
	out := slices.Clone(base)
	for _, o := range more {
		i := slices.IndexFunc(out, func(have schema.DNSOption) bool { return have.Name == o.Name })
		if i < 0 {
			out = append(out, o)
		} else {
			out[i] = o
		}
	}
	return out
}

// maxNameservers is how many C libraries use (MAXNS in resolv.h).
const maxNameservers = 3

// resolvText writes a resolv.conf(5).
func resolvText(c schema.DNSConfig) string {
	var b strings.Builder
	for _, a := range c.Nameservers[:min(len(c.Nameservers), maxNameservers)] {
		b.WriteString("nameserver " + a.String() + "\n")
	}
	if len(c.Searches) > 0 {
		b.WriteString("search " + strings.Join(c.Searches, " ") + "\n")
	}
	if len(c.Options) > 0 {
		b.WriteString("options")
		for _, o := range c.Options {
			b.WriteString(" " + o.Name)
			if o.Value != "" {
				b.WriteString(":" + o.Value)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
