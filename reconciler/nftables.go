package reconciler

import (
	"fmt"
	"net/netip"
	"strings"
)

// Family is an nftables family, and with it an IP version.
type Family string

// The two families; poplin has one table of its name in each.
const (
	IPv4 Family = "ip"
	IPv6 Family = "ip6"
)

// FamilyOf gives the family of an address (an IPv4-mapped one is IPv4).
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Protocol is an IP protocol number (IANA).
type Protocol uint8

// The protocols that services have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String gives the name that nft prints.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprint(uint8(p))
}

// SkeletonVersion is the version of the constant ruleset; it is part of the
// name of the marker chain, poplin-skeleton-VERSION.
const SkeletonVersion = 5

// Table is the table `poplin` of one family with its constant skeleton:
// sets, maps, base chains and their rules.
type Table struct {
	Family  Family
	Version int
	// Damage says what of the skeleton is missing or changed. It is empty in
	// every desired state; a damaged table is made anew with all that is in
	// it, in one transaction.
	Damage string
}

// TableKey identifies a Table.
type TableKey struct{ Family Family }

func (t Table) Kind() Kind   { return KindTable }
func (t Table) Key() Key     { return TableKey{t.Family} }
func (t Table) Needs() []Key { return nil }

func (t Table) String() string {
	text := fmt.Sprintf("table %s poplin skeleton %d", t.Family, t.Version)
	if t.Damage != "" {
		text += " damaged: " + t.Damage
	}
	return text
}

// SetName names a set or map of the skeleton.
type SetName string

// The sets and maps, with their keys and values.
const (
	// SetServices: daddr . l4proto . dport → the number that stands for Chain, of
	// frontends that only pick or refuse; see NumberOf.
	SetServices SetName = "services"
	// SetPicks: that number, as Slot → verdict, the chain.
	SetPicks SetName = "picks"
	// SetSpecialServices: daddr . l4proto . dport → verdict, of all others.
	SetSpecialServices SetName = "special-services"
	// SetEndpoints: daddr . l4proto . dport . slot → addr . port.
	SetEndpoints SetName = "endpoints"
	// SetNodePorts: l4proto . dport → verdict.
	SetNodePorts SetName = "node-ports"
	// SetNodePortEndpoints: l4proto . dport . slot → addr . port.
	SetNodePortEndpoints SetName = "node-port-endpoints"
	// SetOutsideServices: daddr . l4proto . dport → verdict for clients from
	// outside, of frontends that have a verdict of their own for them.
	SetOutsideServices SetName = "outside-services"
	// SetInsideServices: the same key → verdict for everybody else.
	SetInsideServices SetName = "inside-services"
	// SetOutsideNodePorts: l4proto . dport → verdict, likewise.
	SetOutsideNodePorts SetName = "outside-node-ports"
	// SetInsideNodePorts: l4proto . dport → verdict, likewise.
	SetInsideNodePorts SetName = "inside-node-ports"
	// SetSourceRanges (intervals): daddr . l4proto . dport . saddr of clients
	// that may use a restricted frontend.
	SetSourceRanges SetName = "source-ranges"
	// SetNodePortSourceRanges (intervals): l4proto . dport . saddr, likewise.
	SetNodePortSourceRanges SetName = "node-port-source-ranges"
	// SetSticky: daddr . l4proto . dport . slot → verdict, the chain that makes
	// a client stick to the slot's endpoint.
	SetSticky SetName = "sticky"
	// SetNodePortSticky: l4proto . dport . slot → verdict, likewise.
	SetNodePortSticky SetName = "node-port-sticky"
	// SetAffinity: daddr . l4proto . dport . saddr . id of the endpoint that a
	// client sticks to. Packets fill it; it has no elements in a plan.
	SetAffinity SetName = "affinity"
	// SetNodePortAffinity: l4proto . dport . saddr . id, likewise.
	SetNodePortAffinity SetName = "node-port-affinity"
	// SetPortRanges (intervals): daddr . l4proto . first and last dport →
	// verdict, for frontends that are a range of ports.
	SetPortRanges SetName = "port-ranges"
	// SetRangeEndpoints: daddr . l4proto . slot → addr; the port is kept, and
	// Target has none.
	SetRangeEndpoints SetName = "range-endpoints"
	// SetNodePortAddresses (intervals): local addresses on which node ports answer.
	SetNodePortAddresses SetName = "node-port-addresses"
	// SetClusterAddresses: the cluster IPs; they answer ping.
	SetClusterAddresses SetName = "cluster-addresses"
	// SetLoadBalancerAddresses: addresses that nobody but services has; they
	// answer ping, and what is there and no frontend is refused.
	SetLoadBalancerAddresses SetName = "load-balancer-addresses"
	// SetServiceRanges (intervals): what is here and no frontend is refused.
	SetServiceRanges SetName = "service-ranges"
	// SetHairpin: local endpoint . the same address; a pod that reaches
	// itself through its service is masqueraded.
	SetHairpin SetName = "hairpin"
	// SetPodRanges (intervals): the cluster's pod ranges.
	SetPodRanges SetName = "pod-ranges"
	// SetLocalSubnets (intervals): the subnets of this node.
	SetLocalSubnets SetName = "local-subnets"
	// SetMasqueradeSubnets (intervals): those of them whose pods take the
	// node's address when they leave the pod ranges.
	SetMasqueradeSubnets SetName = "masquerade-subnets"
	// SetMasqueradeExclude (intervals): destinations that pods reach with
	// their own address: pod ranges, configured ones, multicast, broadcast.
	SetMasqueradeExclude SetName = "masquerade-exclude"
	// SetMasqueradeServices: daddr . l4proto . dport of frontends that are
	// reached from outside → verdict that says which connections to endpoints
	// elsewhere are masqueraded.
	SetMasqueradeServices SetName = "masquerade-services"
	// SetMasqueradeNodePorts: l4proto . dport of node ports → verdict that says
	// which connections to endpoints elsewhere are masqueraded.
	SetMasqueradeNodePorts SetName = "masquerade-node-ports"
	// SetTraffic (with counters): daddr . l4proto . dport of each frontend;
	// counts the packets of its connections, in both directions.
	SetTraffic SetName = "traffic"
	// SetNodePortTraffic (with counters): l4proto . dport, likewise.
	SetNodePortTraffic SetName = "node-port-traffic"
	// SetRangeTraffic (with counters, intervals): daddr . l4proto . first and
	// last dport, likewise.
	SetRangeTraffic SetName = "range-traffic"
	// SetConnections (with counters): the same key as traffic; counts the first
	// packet of each connection that is sent to an endpoint.
	SetConnections SetName = "connections"
	// SetNodePortConnections (with counters): l4proto . dport, likewise.
	SetNodePortConnections SetName = "node-port-connections"
	// SetRangeConnections (with counters, intervals): daddr . l4proto . first
	// and last dport, likewise.
	SetRangeConnections SetName = "range-connections"
	// SetTunnelPorts: l4proto . dport of this node's tunnels → verdict.
	SetTunnelPorts SetName = "tunnel-ports"
	// SetTunnelPeers: saddr of those that may send to these.
	SetTunnelPeers SetName = "tunnel-peers"
	// SetUnknownPeers (with counters): the same key as tunnel-ports; counts what
	// others sent there, which is dropped.
	SetUnknownPeers SetName = "unknown-peers"
	// SetGuardedLinks: iifname of links that peers' pods are behind → verdict
	// that says which sources may come from there.
	SetGuardedLinks SetName = "guarded-links"
	// SetPeerSubnets (intervals): the subnets of peers.
	SetPeerSubnets SetName = "peer-subnets"
	// SetForeignSources (with counters): the same key as guarded-links; counts
	// what came with another source, which is dropped.
	SetForeignSources SetName = "foreign-sources"
)

// Element is one element of a set or map of the skeleton. Which fields are
// in use follows from the set; the others have their zero value.
type Element struct {
	Family   Family
	Set      SetName
	Link     string       // key
	Address  netip.Addr   // key
	Prefix   netip.Prefix // key, in interval sets
	Protocol Protocol     // key
	Port     uint16       // key
	LastPort uint16       // key, in sets of port ranges: Port is the first
	Slot     uint32       // key
	// Target is the endpoint that a slot stands for (value).
	Target netip.AddrPort
	// Chain is where a frontend goes to (value).
	Chain string
}

// ElementKey identifies an Element.
type ElementKey struct {
	Family   Family
	Set      SetName
	Link     string
	Address  netip.Addr
	Prefix   netip.Prefix
	Protocol Protocol
	Port     uint16
	LastPort uint16
	Slot     uint32
}

func (e Element) Kind() Kind { return KindElement }

func (e Element) Key() Key {
	return ElementKey{e.Family, e.Set, e.Link, e.Address, e.Prefix, e.Protocol, e.Port, e.LastPort, e.Slot}
}

// Needs names the table. A chain that a frontend goes to is made before: see
// reconciler/nft.
func (e Element) Needs() []Key { return []Key{TableKey{e.Family}} }

func (e Element) String() string {
	var key []string
	if e.Link != "" {
		key = append(key, e.Link)
	}
	if e.Address.IsValid() {
		key = append(key, e.Address.String())
	}
	if e.Protocol != 0 {
		key = append(key, e.Protocol.String())
	}
	switch {
	case e.LastPort != 0:
		key = append(key, fmt.Sprintf("%d-%d", e.Port, e.LastPort))
	case e.Port != 0:
		key = append(key, fmt.Sprint(e.Port))
	}
	switch {
	case e.Set == SetEndpoints || e.Set == SetNodePortEndpoints || e.Set == SetSticky || e.Set == SetNodePortSticky ||
		e.Set == SetRangeEndpoints || e.Set == SetPicks:
		key = append(key, fmt.Sprint(e.Slot))
	case e.Set == SetHairpin:
		key = append(key, e.Address.String())
	}
	if e.Prefix.IsValid() {
		key = append(key, e.Prefix.String())
	}
	text := fmt.Sprintf("element %s poplin %s { %s", e.Family, e.Set, strings.Join(key, " . "))
	switch {
	case e.Set == SetRangeEndpoints:
		text += fmt.Sprintf(" : %s", e.Target.Addr())
	case e.Target.IsValid():
		text += fmt.Sprintf(" : %s . %d", e.Target.Addr(), e.Target.Port())
	case e.Chain == "":
	case e.Set == SetServices:
		text += " : " + e.Chain
	default:
		text += " : goto " + e.Chain
	}
	return text + " }"
}
