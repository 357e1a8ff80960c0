// Package api is what the daemon says over its unix socket: JSON documents
// over HTTP/1.1. Fields are only ever added.
package api

import (
	"net/netip"
	"time"

	"github.com/poplin-net/poplin/schema"
)

// APIVersion is in every document.
const APIVersion = "poplin/v1alpha1"

// Status is the state of one node.
type Status struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"` // Status
	Node       string    `json:"node"`
	Cluster    string    `json:"cluster"`
	Version    string    `json:"version"`
	Started    time.Time `json:"started"`
	// Ready: the first round is done, or the daemon knows what it waits for.
	Ready bool `json:"ready"`
	// InSync: the host has all that the accepted revision asks for.
	InSync bool `json:"inSync"`
	// Waiting says what the daemon waits for, "" if for nothing.
	Waiting  string     `json:"waiting,omitempty"`
	Revision string     `json:"revision"`
	Digest   string     `json:"digest"`
	Accepted *time.Time `json:"accepted,omitempty"`
	Applied  *time.Time `json:"applied,omitempty"`
	Source   Source     `json:"source"`
	Rejected *Rejected  `json:"rejected"`
	HeldBack *HeldBack  `json:"heldBack"`
	Underlay Underlay   `json:"underlay"`
	Overlay  Overlay    `json:"overlay"`
	Subnets  []Subnet   `json:"subnets"`
	Claims   []Claim    `json:"claims"`
	Peers    []Peer     `json:"peers"`
	Pods     []Pod      `json:"pods"`
	Services int        `json:"services"`
	// Endpoints counts the endpoints of all services, ready and in all.
	Endpoints      int            `json:"endpoints"`
	EndpointsReady int            `json:"endpointsReady"`
	ServiceList    []Service      `json:"serviceList"`
	DNS            *DNS           `json:"dns,omitempty"`
	Drift          int            `json:"drift"`
	LastDrift      *Drift         `json:"lastDrift,omitempty"`
	LastApply      *Apply         `json:"lastApply"`
	Rounds         int            `json:"rounds"`
	Ignored        map[string]int `json:"ignored,omitempty"`
	// LedgerDigest is the same on all nodes that know the same claims.
	LedgerDigest string `json:"ledgerDigest"`
	// Dropped counts packets by who dropped them and why: "tunnel REASON" and
	// "gossip REASON" the daemon, "port N unknown-peer" and "link NAME
	// foreign-source" the kernel.
	Dropped  map[string]int `json:"dropped"`
	Problems []Problem      `json:"problems"`
}

// Source is the state of the synced directory.
type Source struct {
	State   string `json:"state"` // ok, unstable, empty, missing, waiting
	Path    string `json:"path"`
	Target  string `json:"target,omitempty"` // what a symlink at Path leads to
	Problem string `json:"problem,omitempty"`
	Polling bool   `json:"polling,omitempty"`
}

// Rejected is a revision that was refused.
type Rejected struct {
	Revision    string              `json:"revision"`
	Diagnostics []schema.Diagnostic `json:"diagnostics"`
}

// HeldBack is a revision that a guard holds until it is acknowledged.
type HeldBack struct {
	Revision string `json:"revision"`
	Reason   string `json:"reason"`
}

// Underlay is this node's end of the network between the hosts.
type Underlay struct {
	Link      string       `json:"link"`
	Addresses []netip.Addr `json:"addresses"`
	MTU       int          `json:"mtu"`
}

// Overlay is how this node exchanges packets of pods with others.
type Overlay struct {
	Backend string `json:"backend"`
	Port    uint16 `json:"port,omitempty"`
	MTU     int    `json:"mtu"`
	// VTEP is the link-layer address of the node's VXLAN link.
	VTEP string `json:"vtep,omitempty"`
	// Former are backends that peers may still use, until they have heard of
	// the change.
	Former []string `json:"former,omitempty"`
	// Offloads are the means by which the udp backend is fast that are in use,
	// OffloadsMissing those that the kernel lacks or that are turned off: words
	// such as "vnet tso gso gro".
	Offloads        string `json:"offloads,omitempty"`
	OffloadsMissing string `json:"offloadsMissing,omitempty"`
	// Peers are the tunnel's counters by peer.
	Peers []TunnelPeer `json:"peers,omitempty"`
}

// TunnelPeer counts a tunnel's packets from and to a peer.
type TunnelPeer struct {
	Node            string `json:"node"`
	SentPackets     uint64 `json:"sentPackets"`
	SentBytes       uint64 `json:"sentBytes"`
	ReceivedPackets uint64 `json:"receivedPackets"`
	ReceivedBytes   uint64 `json:"receivedBytes"`
}

// Subnet is a subnet of this node.
type Subnet struct {
	CIDRs  []netip.Prefix `json:"cidrs"`
	Class  string         `json:"class"` // pinned, claimed
	Origin string         `json:"origin,omitempty"`
	Bridge string         `json:"bridge"`
	Pods   int            `json:"pods"`
}

// Claim is a claim of this node.
type Claim struct {
	Subnet netip.Prefix `json:"subnet"`
	Class  string       `json:"class"` // proposed, confirmed, lost
	Epoch  uint64       `json:"epoch"`
}

// Peer is another node as this one sees it.
type Peer struct {
	Name      string         `json:"name"`
	State     string         `json:"state"` // alive, failed; unknown until gossip is joined
	Address   string         `json:"address"`
	Subnets   []netip.Prefix `json:"subnets"`
	Backend   string         `json:"backend"`
	VTEP      string         `json:"vtep,omitempty"`
	MTU       int            `json:"mtu"`
	Revision  string         `json:"revision"`
	Digest    string         `json:"digest"`
	Rejected  *PeerRejected  `json:"rejected"`
	Pods      int            `json:"pods"`
	PodsReady int            `json:"podsReady"`
	Seen      *time.Time     `json:"seen,omitempty"`
	TCPOnly   bool           `json:"tcpOnly,omitempty"`
	External  bool           `json:"external,omitempty"`
}

// PeerRejected is a revision that another node refused, with its first error.
type PeerRejected struct {
	Revision string `json:"revision"`
	Error    string `json:"error"`
}

// Pod is a pod of this node.
type Pod struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
	Ready     bool         `json:"ready"`
	// Up: its namespace and interface are there, so that processes can be
	// started in it.
	Up bool `json:"up,omitempty"`
	// Probed: its document has readiness probes.
	Probed bool `json:"probed,omitempty"`
	// Reason says why it is not ready.
	Reason      string `json:"reason,omitempty"`
	HostNetwork bool   `json:"hostNetwork,omitempty"`
	Netns       string `json:"netns,omitempty"`
}

// Service is a service with what it answers on.
type Service struct {
	Namespace  string       `json:"namespace"`
	Name       string       `json:"name"`
	Type       string       `json:"type"`
	ClusterIPs []netip.Addr `json:"clusterIPs"`
	// ExternalIPs are load balancer addresses and external IPs.
	ExternalIPs []netip.Addr `json:"externalIPs,omitempty"`
	Ports       []string     `json:"ports"` // 80/TCP, 80:30080/TCP
	// Endpoints counts those that stand behind the cluster IPs, or that a
	// headless service's name stands for, whatever their states are; one with
	// several ports or addresses counts once.
	Endpoints int `json:"endpoints"`
	// EndpointsReady are those that take connections.
	EndpointsReady int `json:"endpointsReady"`
	// Announced says which nodes announce its load balancer addresses.
	Announced []Announced `json:"announced,omitempty"`
	// Frontends are what it answers on. They are there where counters are
	// asked for.
	Frontends []Frontend `json:"frontends,omitempty"`
}

// Frontend is an address and port, or a range of ports, on which a service
// answers.
type Frontend struct {
	Kind   string `json:"kind"`   // clusterIP, nodePort, loadBalancer, externalIP
	Family string `json:"family"` // IPv4, IPv6
	// Address is missing for node ports: they are on this node's addresses.
	Address  netip.Addr `json:"address,omitzero"`
	Protocol string     `json:"protocol"` // TCP, UDP, SCTP
	Port     uint16     `json:"port"`
	LastPort uint16     `json:"lastPort,omitempty"` // of a range that starts with Port
	PortName string     `json:"portName,omitempty"`
	// Endpoints and EndpointsReady are as those of Service.
	Endpoints      int `json:"endpoints"`
	EndpointsReady int `json:"endpointsReady"`
	// Counters are missing where the kernel has none for it yet.
	Counters *Counters `json:"counters,omitempty"`
}

// Counters are what this node sent through a frontend since it was made; they
// outlive changes of endpoints and restarts of the daemon. What was refused or
// dropped does not count.
type Counters struct {
	// Connections that were sent to an endpoint. Packets without connections
	// (UDP) that belong together for the kernel are one.
	Connections uint64 `json:"connections"`
	// Packets and Bytes (of whole IP packets) of these connections, in both
	// directions. What a link hands on in one piece is one packet.
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Announced says which node answers for a load balancer address on the
// network between the hosts.
type Announced struct {
	Address netip.Addr `json:"address"`
	Node    string     `json:"node"` // "": none may
}

// Drift is something of ours that somebody else changed.
type Drift struct {
	What string    `json:"what"`
	At   time.Time `json:"at"`
}

// Apply is the account of the last plan that was applied.
type Apply struct {
	At       time.Time `json:"at"`
	Revision string    `json:"revision"`
	Add      int       `json:"add"`
	Change   int       `json:"change"`
	Delete   int       `json:"delete"`
	Cause    string    `json:"cause"`
	Took     string    `json:"took"`
	// Reaction is the time from the snapshot of the documents, as the source
	// handed it over, until the plan was carried out; only where it was a new
	// revision that the plan was for.
	Reaction string `json:"reaction,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Problem stands in the way; Remedy is the one command or edit that mends it.
type Problem struct {
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}
