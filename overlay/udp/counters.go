package udp

import (
	"cmp"
	"slices"
)

// Counters are a tunnel's figures since it was made.
type Counters struct {
	Peers []PeerCounters    `json:"peers"` // the peers of now, by name
	Drops map[Reason]uint64 `json:"drops"` // packets; reasons that never occurred are left out
}

// PeerCounters are the figures of one peer since it is known. Bytes are those
// of the inner packets.
type PeerCounters struct {
	Node            string `json:"node"`
	SentPackets     uint64 `json:"sentPackets"`
	SentBytes       uint64 `json:"sentBytes"`
	ReceivedPackets uint64 `json:"receivedPackets"`
	ReceivedBytes   uint64 `json:"receivedBytes"`
	// Dropped counts packets from the peer, or for it, that were dropped for
	// whatever reason.
	Dropped uint64 `json:"dropped"`
}

// Counters reads the counters. It may be called at any time.
func (t *Tunnel) Counters() Counters {
	c := Counters{Drops: map[Reason]uint64{}}
	for r := accepted + 1; r < reasons; r++ {
		if n := t.drops.counts[r].Load(); n > 0 {
			c.Drops[r] = n
		}
	}
	for _, p := range t.table.Load().peers {
		c.Peers = append(c.Peers, PeerCounters{
			Node:            p.node,
			SentPackets:     p.traffic.sentPackets.Load(),
			SentBytes:       p.traffic.sentBytes.Load(),
			ReceivedPackets: p.traffic.receivedPackets.Load(),
			ReceivedBytes:   p.traffic.receivedBytes.Load(),
			Dropped:         p.traffic.dropped.Load(),
		})
	}
	slices.SortFunc(c.Peers, func(a, b PeerCounters) int { return cmp.Compare(a.Node, b.Node) })
	// Peers of one name share their counters.
	c.Peers = slices.CompactFunc(c.Peers, func(a, b PeerCounters) bool { return a.Node == b.Node })
	return c
}
