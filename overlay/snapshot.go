package overlay

import (
	"net/netip"
	"time"
)

// Snapshot is what gossip knows now. It is a value that nobody changes.
type Snapshot struct {
	// Joined says that gossip was joined, or given up on: what is not known
	// now may be deleted. Before, nothing may.
	Joined bool
	// Waiting says what this node waits for before it can take part or has a
	// subnet; "" if for nothing.
	Waiting string

	NodeID string
	Claims []ClaimStatus // of this node, sorted by subnet
	Peers  []Peer        // sorted by name, without this node; those that are gone are left out
	// Owners is the resolution of all claims, this node's among them, sorted
	// by subnet. Pinned subnets are no claims and are not here.
	Owners []Owner
	// Accused counts how often this node heard that others thought it silent,
	// as they do while it is cut off, which it need not notice itself.
	Accused      uint64
	LedgerDigest string // 16 hexadecimal digits; equal at two nodes that know the same claims
	KeyDigests   []string
	Problems     []Problem
	// Counters count messages that were dropped, by reason.
	Counters map[string]uint64
}

// PeerState is what a node thinks of another.
type PeerState string

// The states of a peer that is not gone.
const (
	PeerAlive  PeerState = "alive"  // answers gossip; or external; or stopping, see Peer
	PeerFailed PeerState = "failed" // known, but silent
)

// Peer is another node, as it announces itself.
type Peer struct {
	Name  string
	State PeerState
	// Stopping says that its daemon was stopped in good order while its data
	// plane goes on: it counts as alive for Timing.StopGrace, as long as its
	// host answers.
	Stopping bool
	External bool
	ID       string // "" if nothing was ever heard of it
	Underlay []netip.Addr
	Backend  string
	Port     uint16
	// VNI, VTEP, Direct and PublicKey are those of Transport.
	VNI       uint32 `json:",omitempty"`
	VTEP      string `json:",omitempty"`
	Direct    bool   `json:",omitempty"`
	PublicKey string `json:",omitempty"`
	MTU       int    // bytes
	Revision  string
	Digest    string
	Rejected  *Rejection
	Pods      []PodEntry // sorted by namespace and name
	Health    bool       // Pods has those in the host's network, too
	// LastSeen is when it was heard of last; zero: not since this daemon
	// started.
	LastSeen time.Time
	// TCPOnly says that it answers over TCP, but never over UDP.
	TCPOnly      bool
	KeyDigests   []string // the key that encrypts first
	LedgerDigest string
}

// Problem is something that stands in the way, with what mends it.
type Problem struct{ What, Remedy string }

// Peer returns the peer of that name, or nil.
func (s Snapshot) Peer(name string) *Peer {
	for i := range s.Peers {
		if s.Peers[i].Name == name {
			return &s.Peers[i]
		}
	}
	return nil
}
