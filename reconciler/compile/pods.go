package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/schema"
)

// podLink is the name of a pod's interface inside its namespace.
const podLink = "eth0"

// pods asks for the namespaces of this node's pods that have an address, and
// for files of those in the host's network.
func (b *builder) pods() []*reconciler.Group {
	var groups []*reconciler.Group
	for _, p := range b.own {
		addresses := b.Host.PodAddresses[p.Meta.Name]
		if p.HostNetwork {
			if files := b.resolvConf(p, nil); len(files) > 0 {
				groups = append(groups, &reconciler.Group{Name: "pod " + p.Meta.Name.String(), Origin: b.origin(p.Place), Objects: files})
			}
			continue
		}
		if len(addresses) == 0 {
			continue
		}
		i := slices.IndexFunc(b.subnets, func(s Subnet) bool { return s.contains(addresses[0]) })
		if i < 0 {
			b.problem(fmt.Sprintf("pod %s: %s is in no subnet of this node", p.Meta.Name, addresses[0]), "mend annotation poplin/ip, or pin the Subnet to the node")
			continue
		}
		groups = append(groups, b.pod(p, b.subnets[i], addresses))
	}
	return groups
}

func (b *builder) pod(p *schema.Pod, s Subnet, addresses []netip.Addr) *reconciler.Group {
	netns := reconciler.NamespaceName(p.Namespace, p.Meta.Name.Name)
	alias := b.alias(p.Meta.Name.String())
	mtu := b.subnetMTU(s)
	cluster := b.cluster.Meta.Name.Name
	g := &reconciler.Group{Name: "pod " + p.Meta.Name.String(), Origin: b.origin(p.Place)}
	g.Objects = append(g.Objects,
		reconciler.Namespace{Name: netns},
		reconciler.Link{
			Name: HostLink(p.Meta.Name), Type: reconciler.LinkVeth, Alias: alias,
			MAC: deriveMAC(cluster, "host", p.Meta.Name.String()), MTU: mtu, Master: s.Bridge,
			Peer: podLink, PeerNetns: netns,
			Hairpin: b.Host.BridgeNetfilter, Isolated: !b.Host.BridgeNetfilter,
		},
		reconciler.Link{
			Netns: netns, Name: podLink, Type: reconciler.LinkVeth, Alias: alias,
			MAC: podMAC(cluster, addresses[0]), MTU: mtu,
		})
	g.Objects = append(g.Objects, b.resolvConf(p, addresses)...)
	g.Objects = append(g.Objects, b.noRedirects(netns)...)
	for _, name := range slices.Sorted(maps.Keys(p.Sysctls)) {
		g.Objects = append(g.Objects, reconciler.Sysctl{Netns: netns, Name: name, Value: p.Sysctls[name]})
	}
	for _, ip := range addresses {
		prefix, gateway, ok := b.around(ip)
		if !ok {
			continue
		}
		g.Objects = append(g.Objects,
			reconciler.Address{Netns: netns, Link: podLink, Prefix: netip.PrefixFrom(ip, prefix.Bits())},
			reconciler.Route{Netns: netns, Destination: b.neighbours(prefix, gateway), Link: podLink},
			reconciler.Route{Netns: netns, Destination: defaultRoute(ip), Gateway: gateway, Link: podLink})
	}
	return g
}

// podMAC follows a pod's address, not its name: a pod that takes the place of
// another is reached at once by those who remember which MAC address its IP
// address has. They would send to the old one for half a minute.
func podMAC(cluster string, address netip.Addr) reconciler.MAC {
	return deriveMAC(cluster, "pod", address.String())
}

// noRedirects has a pod ignore ICMP redirects: its node forwards packets out
// of the link on which they came (to a service, or to another pod of the
// bridge), and a redirect would take it out of that way. For IPv4 the kernel
// accepts them if either setting is on (ip-sysctl: accept_redirects).
func (b *builder) noRedirects(netns string) []reconciler.Object {
	var out []reconciler.Object
	add := func(family, link string) {
		s := linkSysctl(link, family, "accept_redirects", "0")
		s.Netns = netns
		if link == "all" {
			s.Link = ""
		}
		out = append(out, s)
	}
	if b.has(reconciler.IPv4) {
		add("ipv4", "all")
		add("ipv4", podLink)
	}
	if b.has(reconciler.IPv6) {
		add("ipv6", podLink)
	}
	return out
}

// neighbours is what a pod reaches without a gateway: its subnet. With
// isolated ports that is the gateway alone for IPv6, for nobody answers
// neighbour solicitations for other pods; proxy_arp_pvlan is for ARP only.
// Redirects do no harm: the kernel takes them only from a gateway that is a
// link-local address (RFC 4861 section 8.1).
func (b *builder) neighbours(subnet netip.Prefix, gateway netip.Addr) netip.Prefix {
	if b.Host.BridgeNetfilter || gateway.Is4() {
		return subnet
	}
	return netip.PrefixFrom(gateway, gateway.BitLen())
}

func defaultRoute(ip netip.Addr) netip.Prefix {
	if ip.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// HostLink is the name of the host's end of a pod's veth pair. Interface
// names have at most 15 bytes, so it is a hash; the alias is for readers.
func HostLink(pod schema.Name) string {
	sum := sha256.Sum256([]byte(pod.String()))
	return "pop" + hex.EncodeToString(sum[:6])
}
