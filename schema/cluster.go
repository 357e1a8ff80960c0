package schema

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The defaults of a Cluster that are not the zero value.
const (
	defaultRetention    = "72h"
	defaultDomain       = "cluster.local"
	defaultNodePorts    = "30000-32767"
	defaultRemovalLimit = 50 // percent
	defaultGossipPort   = 8286
	defaultLengthIPv4   = 24
	defaultLengthIPv6   = 64
	defaultNDots        = 3    // web.default.svc fails under musl with 2; 5 costs four futile queries per outside name
	minMTUIPv6          = 1280 // RFC 8200 section 5
)

// newClusterDocument holds the defaults that are true.
func newClusterDocument() *clusterDocument {
	d := &clusterDocument{}
	d.Spec.Masquerade.Enabled = true
	d.Spec.DNS.Enabled = true
	d.Spec.DNS.NDots = defaultNDots
	d.Spec.RemovalLimit.name = ""
	d.Spec.RemovalLimit.number = -1
	return d
}

// cluster converts a Cluster; ignore is its ignoreKinds.
func (c *conversion) cluster(d *clusterDocument) *Cluster {
	s := &d.Spec
	out := &Cluster{
		Meta:         c.meta,
		PodCIDRs:     prefixes(s.PodCIDRs),
		ServiceCIDRs: prefixes(s.ServiceCIDRs),
		AllowRemoval: atoi(c.meta.Annotations["poplin/allow-removal"]),
	}
	out.SubnetLength.IPv4 = orDefault(s.SubnetLength.IPv4, defaultLengthIPv4)
	out.SubnetLength.IPv6 = orDefault(s.SubnetLength.IPv6, defaultLengthIPv6)
	out.SubnetRetention, _ = time.ParseDuration(orDefault(s.SubnetRetention, defaultRetention))
	out.Masquerade.Enabled = s.Masquerade.Enabled
	out.Masquerade.Exclude = prefixes(s.Masquerade.Exclude)
	out.NodePortRange, _ = parsePortRange(orDefault(s.NodePortRange, defaultNodePorts))
	out.LocalhostNodePorts = s.LocalhostNodePorts
	out.ExternalIPCIDRs = prefixes(s.ExternalIPCIDRs)
	out.Gossip.Port = uint16(orDefault(s.Gossip.Port, defaultGossipPort))
	out.Gossip.Profile = orDefault(s.Gossip.Profile, "lan")
	out.Gossip.Encrypted = s.Gossip.Encryption != "off"
	out.Gossip.AllowedCIDRs = prefixes(s.Gossip.AllowedCIDRs)
	c.overlay(s.Overlay, out)
	c.dns(s.DNS, out)
	c.upstreams(s.DNS.Upstreams, out)
	c.nodePortAddresses(s.NodePortAddresses, out)
	c.removalLimit(s.RemovalLimit, out)
	c.clusterRanges(out)
	c.loadBalancerRanges(s.LoadBalancerCIDRs, out)
	for i, kind := range s.IgnoreKinds {
		for _, known := range documentKinds {
			if kind == known.name || kind == known.name+"."+groupOf(known.apiVersion) {
				c.refuse(pointer("/spec/ignoreKinds").item(i), "%s is a kind that poplin reads; write Kind.group to ignore one of another group", kind)
			}
		}
	}
	return out
}

func (c *conversion) overlay(s overlaySpec, out *Cluster) {
	at := pointer("/spec/overlay")
	o := &out.Overlay
	o.Backend = Backend(orDefault(s.Backend, string(BackendUDP)))
	o.DirectRouting, o.MTU = s.DirectRouting, s.MTU
	o.UnderlayFamily = orDefault(s.UnderlayFamily, "auto")
	o.ChecksumOffload = orDefault(s.ChecksumOffload, "auto")
	o.Port = o.Backend.DefaultPort()
	switch {
	case o.Port == 0 && s.Port != 0:
		c.refuse(at.field("port"), "the backend %s has no port", o.Backend)
	case s.Port != 0:
		o.Port = uint16(s.Port)
	}
	switch {
	case s.DirectRouting && o.Port == 0:
		c.refuse(at.field("directRouting"), "the backend %s has no tunnel that routes could go beside", o.Backend)
	case s.DirectRouting && o.Backend == BackendWireGuard:
		c.refuse(at.field("directRouting"), "packets beside the tunnel would not be encrypted")
	}
	o.Keepalive, _ = time.ParseDuration(orDefault(s.Keepalive, "0s"))
	if o.Keepalive != 0 && o.Backend != BackendWireGuard {
		c.refuse(at.field("keepalive"), "the backend %s sends no keepalive packets", o.Backend)
	}
	if o.Backend == BackendVXLAN {
		o.VNI = uint32(orDefault(s.VNI, DefaultVNI))
	} else {
		if s.VNI != 0 {
			c.refuse(at.field("vni"), "the backend %s has no network identifier", o.Backend)
		}
		if o.ChecksumOffload != "auto" {
			c.refuse(at.field("checksumOffload"), "the backend %s has no VXLAN device", o.Backend)
		}
	}
	if o.Port != 0 && o.Port == out.Gossip.Port {
		c.refuse(at.field("port"), "port %d is that of the gossip too", o.Port)
	}
	if s.MTU != 0 && s.MTU < minMTUIPv6 && hasFamily(out.PodCIDRs, IPv6) {
		c.refuse(at.field("mtu"), "%d is too small for IPv6, which needs %d", s.MTU, minMTUIPv6)
	}
}

// hasFamily reports whether one of the ranges is of the family.
func hasFamily(list []netip.Prefix, f Family) bool {
	for _, p := range list {
		if FamilyOf(p.Addr()) == f {
			return true
		}
	}
	return false
}

func (c *conversion) dns(s dnsSpec, out *Cluster) {
	at := pointer("/spec/dns/addresses")
	out.DNS.Enabled = s.Enabled
	out.DNS.Domain = orDefault(s.Domain, defaultDomain)
	out.DNS.Addresses = addresses(s.Addresses)
	out.DNS.NDots = s.NDots
	out.DNS.AllowFrom = prefixes(s.AllowFrom)
	c.onePerFamily(at, out.DNS.Addresses)
	for i, a := range out.DNS.Addresses {
		c.unicast(at.item(i), a)
		for _, p := range out.PodCIDRs {
			if p.Contains(a) {
				c.refuse(at.item(i), "%s is inside the pod range %s", a, p)
			}
		}
	}
	if out.DNS.Addresses != nil {
		return
	}
	for _, p := range out.ServiceCIDRs {
		if a := addrAt(p, 10); p.Contains(a) {
			out.DNS.Addresses = append(out.DNS.Addresses, a)
		}
	}
}

// dnsPort is where resolvers listen.
const dnsPort = 53

// upstreams reads whom to ask about names outside of the cluster.
func (c *conversion) upstreams(list []string, out *Cluster) {
	for i, text := range list {
		at := pointer("/spec/dns/upstreams").item(i)
		a, _ := parseIPPort(text)
		if a.Port() == 0 {
			a = netip.AddrPortFrom(a.Addr(), dnsPort)
		}
		if slices.Contains(out.DNS.Upstreams, a) {
			c.refuse(at, "%s is listed twice", a)
		}
		if a.Port() == dnsPort && slices.Contains(out.DNS.Addresses, a.Addr()) {
			c.refuse(at, "%s is the cluster's own DNS", a.Addr())
		}
		if !a.Addr().IsLoopback() { // a resolver on every node is as good as any
			c.unicast(at, a.Addr())
		}
		out.DNS.Upstreams = append(out.DNS.Upstreams, a)
	}
}

func (c *conversion) nodePortAddresses(list []string, out *Cluster) {
	n := &out.NodePortAddresses
	n.Primary = len(list) == 0
	for _, text := range list {
		switch text {
		case "primary":
			n.Primary = true
		case "all":
			n.All = true
		default:
			n.CIDRs = append(n.CIDRs, netip.MustParsePrefix(text))
		}
	}
}

func (c *conversion) removalLimit(limit intOrString, out *Cluster) {
	text, percent := strings.CutSuffix(limit.name, "%")
	switch {
	case percent:
		out.RemovalLimit.Percent = atoi(text)
	case limit.name != "":
		out.RemovalLimit.Count = atoi(limit.name)
	case limit.number >= 0:
		out.RemovalLimit.Count = limit.number
	default:
		out.RemovalLimit.Percent = defaultRemovalLimit
	}
}

// minServiceBits is how many host bits a service range has at least: room
// for the DNS address, which is the tenth.
const minServiceBits = 4

func (c *conversion) clusterRanges(out *Cluster) {
	pods, services := pointer("/spec/podCIDRs"), pointer("/spec/serviceCIDRs")
	c.onePrefixPerFamily(services, out.ServiceCIDRs)
	for i, s := range out.ServiceCIDRs {
		c.rangeUse(services.item(i), s)
		if s.Addr().BitLen()-s.Bits() < minServiceBits {
			c.refuse(services.item(i), "%s is too small for services; at least /%d", s, s.Addr().BitLen()-minServiceBits)
		}
	}
	for i, p := range out.PodCIDRs {
		c.rangeUse(pods.item(i), p)
		for _, q := range out.PodCIDRs[:i] {
			if p.Overlaps(q) {
				c.refuse(pods.item(i), "pod range %s overlaps pod range %s", p, q)
			}
		}
		for j, s := range out.ServiceCIDRs {
			if p.Overlaps(s) {
				c.refuse(services.item(j), "service range %s overlaps pod range %s", s, p)
			}
		}
	}
}

// rangeUse refuses ranges that hold addresses of another meaning.
func (c *conversion) rangeUse(at pointer, p netip.Prefix) {
	for _, special := range specialRanges() {
		if p.Overlaps(special) {
			c.refuse(at, "%s overlaps %s, which has a meaning of its own", p, special)
			return
		}
	}
}

// specialRanges are not for hosts (RFC 6890): this network, loopback,
// link-local, multicast and above.
func specialRanges() []netip.Prefix {
	return prefixes([]string{"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::1/128", "fe80::/10", "ff00::/8"})
}
