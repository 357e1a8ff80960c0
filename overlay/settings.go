package overlay

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Settings is what the documents say that gossip must know. The zero value
// says nothing: no roster, nothing to claim.
type Settings struct {
	// Roster lists the nodes of the documents; empty: there is no roster, and
	// every holder of the key is a member.
	Roster []RosterNode
	// PodCIDRs are the ranges that subnets are cut from, in order of preference.
	PodCIDRs         []netip.Prefix
	SubnetLengthIPv4 int // bits
	SubnetLengthIPv6 int // bits
	// Pinned subnets are no claims: a claim that overlaps one is void.
	Pinned []PinnedSubnet
	// Free are the Subnet documents without a node, each with its one or two
	// prefixes. If there are any, claims are made only from these.
	Free [][]netip.Prefix
	// Retention is how long a silent owner keeps its claims where there is no
	// roster; 0: for ever.
	Retention time.Duration
	// AllowedCIDRs limit the addresses of members; empty: no limit.
	AllowedCIDRs []netip.Prefix
	// NeedsClaim says that this node has no pinned subnet, so that it claims.
	NeedsClaim bool
}

// RosterNode is a node that the documents name.
type RosterNode struct {
	Name      string
	Addresses []netip.Addr // underlay
	// Gossip is where it is joined; the zero value: at each of its addresses,
	// at this node's own port.
	Gossip   netip.AddrPort
	External bool // runs no daemon and counts as alive
}

// PinnedSubnet is a subnet that the documents give to a node.
type PinnedSubnet struct {
	Prefix netip.Prefix
	Node   string
}

// Announcement is what this node says of itself.
type Announcement struct {
	Underlay []netip.Addr // in order of preference
	Transport
	// NeedsDaemon says that packets for the node's pods stop with the daemon.
	NeedsDaemon bool
	MTU         int // bytes
	Revision    string
	Digest      string // of the accepted revision
	Rejected    *Rejection
	Pods        []PodEntry
	Health      bool // Pods has those in the host's network, too
}

// inRoster reports whether the name is a member as far as the documents go.
func (s Settings) inRoster(name string) bool {
	return len(s.Roster) == 0 || s.roster(name) != nil
}

func (s Settings) roster(name string) *RosterNode {
	for i := range s.Roster {
		if s.Roster[i].Name == name {
			return &s.Roster[i]
		}
	}
	return nil
}

// lonely reports whether the roster lists nobody but this node.
func (s Settings) lonely(self string) bool {
	others := func(n RosterNode) bool { return n.Name != self && !n.External }
	return len(s.Roster) > 0 && !slices.ContainsFunc(s.Roster, others)
}

func (s Settings) pinned() []netip.Prefix {
	out := make([]netip.Prefix, len(s.Pinned))
	for i, p := range s.Pinned {
		out[i] = p.Prefix
	}
	return out
}

func (s Settings) allows(a netip.Addr) bool {
	in := func(p netip.Prefix) bool { return p.Contains(a.Unmap()) }
	return len(s.AllowedCIDRs) == 0 || slices.ContainsFunc(s.AllowedCIDRs, in)
}

func (s Settings) equal(o Settings) bool { return reflect.DeepEqual(s, o) }

// normal gives the announcement with its pods sorted, free of the caller's
// slices, and without pods that another node would refuse.
func (n Announcement) normal() Announcement {
	n.Underlay = slices.Clone(n.Underlay[:min(len(n.Underlay), maxUnderlay)])
	n.Revision, n.Digest = cut(n.Revision, maxRevision), cut(n.Digest, maxRevision)
	pods := make([]PodEntry, 0, len(n.Pods))
	for _, p := range n.Pods {
		p.Addresses = slices.Clone(p.Addresses)
		if p.check() == nil {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, comparePods)
	n.Pods = slices.CompactFunc(pods, func(a, b PodEntry) bool { return comparePods(a, b) == 0 })
	n.Pods = n.Pods[:min(len(n.Pods), maxPods)]
	if n.Rejected != nil {
		r := Rejection{cut(n.Rejected.Revision, maxRevision), cut(n.Rejected.Error, maxRejected)}
		n.Rejected = &r
	}
	return n
}

func (n Announcement) equal(o Announcement) bool { return reflect.DeepEqual(n, o) }

// usesSubnet reports whether a pod has an address inside the prefix.
func (n Announcement) usesSubnet(p netip.Prefix) bool {
	return slices.ContainsFunc(n.Pods, func(pod PodEntry) bool { return slices.ContainsFunc(pod.Addresses, p.Contains) })
}

// Limits of what is announced, in bytes and in number; they keep a head
// small enough for one message.
const (
	maxRevision = 80
	maxUnderlay = 4
)

// cut shortens a text to so many bytes, at a character.
func cut(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}
