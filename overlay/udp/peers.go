package udp

import (
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// Peer is another node: packets for its subnets go to its endpoint, and
// packets from the endpoint's address may have inner sources in its subnets.
type Peer struct {
	Node     string
	Endpoint netip.AddrPort
	// Subnets of all peers together do not overlap; if they do, the longest
	// prefix owns an address.
	Subnets []netip.Prefix
}

// peer is an entry of the table, with counters that outlive the table.
type peer struct {
	node     string
	endpoint netip.AddrPort
	traffic  *traffic
}

// traffic counts one peer's packets and bytes. The two directions are counted
// by different goroutines, so they are kept in different cache lines.
type traffic struct {
	sentPackets, sentBytes         atomic.Uint64
	_                              [48]byte
	receivedPackets, receivedBytes atomic.Uint64
	dropped                        atomic.Uint64
}

// table says where packets go and which are accepted. It is never changed
// after it was made.
type table struct {
	peers []*peer
	// byAddress has one entry for an address even if several peers share it:
	// what matters for acceptance is that the address is known.
	byAddress map[netip.Addr]*peer
	bySubnet  bart.Fast[*peer]
}

// newTable makes a table. Peers of one name share their counters, and keep
// those that they had in the table before.
func newTable(peers []Peer, before *table) *table {
	counted := make(map[string]*traffic, len(peers))
	if before != nil {
		for _, p := range before.peers {
			counted[p.node] = p.traffic
		}
	}
	t := &table{byAddress: make(map[netip.Addr]*peer, len(peers))}
	for _, p := range peers {
		if counted[p.Node] == nil {
			counted[p.Node] = new(traffic)
		}
		endpoint := netip.AddrPortFrom(p.Endpoint.Addr().Unmap(), p.Endpoint.Port())
		entry := &peer{p.Node, endpoint, counted[p.Node]}
		t.peers = append(t.peers, entry)
		if _, taken := t.byAddress[endpoint.Addr()]; !taken {
			t.byAddress[endpoint.Addr()] = entry
		}
		for _, subnet := range p.Subnets {
			t.bySubnet.Insert(subnet.Masked(), entry)
		}
	}
	return t
}

// route says which peer a packet of the kernel goes to.
func (t *table) route(packet []byte) (*peer, Reason) {
	h, reason := parseHeader(packet)
	switch reason {
	case NotIP:
		return nil, NotIPOut
	case Truncated:
		return nil, TruncatedOut
	}
	if p, ok := t.bySubnet.Lookup(h.destination); ok {
		return p, accepted
	}
	if h.destination.IsMulticast() || h.destination.IsLinkLocalUnicast() {
		return nil, NotUnicast
	}
	return nil, NoRoute
}

// accept says whether a packet that came from an outer address may go to the
// kernel, and which peer sent it (nil if that is unknown). The owner of the
// inner source tells whether the outer source is right, so good packets need
// no lookup of the latter; who forges one is found out afterwards.
func (t *table) accept(from netip.Addr, packet []byte) (*peer, Reason) {
	h, reason := parseHeader(packet)
	if reason == accepted {
		owner, ok := t.bySubnet.Lookup(h.source)
		if ok && owner.endpoint.Addr() == from {
			if _, remote := t.bySubnet.Lookup(h.destination); remote {
				return owner, Forwarded
			}
			return owner, accepted
		}
		reason = ForeignSource
	}
	sender, known := t.byAddress[from]
	if !known {
		return nil, UnknownPeer
	}
	return sender, reason
}
