// Package schema turns a tree of documents into one checked Config: strict
// YAML and JSON, a JSON Schema, defaults, rules across documents, and
// diagnostics that say file, line and column.
//
// The package is pure: files in, Config and Diagnostics out.
package schema

import (
	"net/netip"
	"time"
)

// Config is one accepted state of the documents. It is never changed after
// Parse returned it. A document whose file did not change is the same
// pointer in the next Config.
type Config struct {
	Cluster  *Cluster
	Nodes    []*Node          // the roster, sorted by name; empty: no roster
	Subnets  []*Subnet        // sorted by name
	Pods     []*Pod           // sorted by namespace and name
	Services []*Service       // sorted by namespace and name
	Slices   []*EndpointSlice // sorted by namespace and name; Endpoints documents are here too

	podsOn map[string][]*Pod // Pods by node; nil: nobody sorted them

	Files     int
	Documents int
	ByKind    map[string]int // documents by kind
	Ignored   map[string]int // ignored documents by kind
	Automatic int            // cluster IPs and node ports that nobody wrote down
}

// Backend is the way in which nodes reach each other's pods.
type Backend string

// The backends.
const (
	BackendUDP       Backend = "udp"
	BackendVXLAN     Backend = "vxlan"
	BackendHostGW    Backend = "host-gw"
	BackendWireGuard Backend = "wireguard"
	BackendNone      Backend = "none"
)

// Overlay says how nodes reach each other's pods.
type Overlay struct {
	Backend         Backend
	Port            uint16 // 0 for backends without one
	VNI             uint32 // 0 for backends other than vxlan
	DirectRouting   bool
	MTU             int           // bytes, upper limit; 0: the underlay's minus the backend's cost
	UnderlayFamily  string        // auto, ipv4, ipv6
	ChecksumOffload string        // auto, on, off
	Keepalive       time.Duration // wireguard; 0: none
}

// DefaultPort is the UDP port of a backend where none is written: flannel's,
// and WireGuard's usual one. It is 0 for backends without one.
func (b Backend) DefaultPort() uint16 {
	switch b {
	case BackendUDP:
		return 8285
	case BackendVXLAN:
		return 8472
	case BackendWireGuard:
		return 51820
	}
	return 0
}

// DefaultVNI is the VXLAN network identifier where none is written: flannel's.
const DefaultVNI = 1

// Cluster is the one document that every tree has.
type Cluster struct {
	Meta
	PodCIDRs     []netip.Prefix // in order of preference
	ServiceCIDRs []netip.Prefix // at most one per family; the first is the preferred family
	SubnetLength struct{ IPv4, IPv6 int }
	// SubnetRetention is how long a silent owner keeps its claim where there
	// is no roster.
	SubnetRetention time.Duration
	Overlay         Overlay
	Masquerade      struct {
		Enabled bool
		Exclude []netip.Prefix
	}
	DNS struct {
		Enabled   bool
		Domain    string
		Addresses []netip.Addr
		Upstreams []netip.AddrPort // up to three; none: those of the node's resolv.conf
		NDots     int              // of pods' resolv.conf
		AllowFrom []netip.Prefix   // clients besides the node and pods
	}
	NodePortRange     PortRange
	NodePortAddresses struct {
		Primary bool // the node's underlay addresses
		All     bool // every local address but loopback
		CIDRs   []netip.Prefix
	}
	// LocalhostNodePorts says that node ports answer on loopback, too.
	LocalhostNodePorts bool
	// ExternalIPCIDRs are the ranges that external addresses may be from.
	ExternalIPCIDRs []netip.Prefix
	// LoadBalancerCIDRs are the addresses for services of type LoadBalancer.
	LoadBalancerCIDRs []AddrRange
	Gossip            struct {
		Port         uint16
		Profile      string // lan, wan
		Encrypted    bool
		AllowedCIDRs []netip.Prefix
	}
	RemovalLimit struct {
		Count   int // documents; used if Percent is 0
		Percent int // of the documents
	}
	// AllowRemoval is the annotation poplin/allow-removal, 0 if absent.
	AllowRemoval int
}

// PortRange is an inclusive range of ports.
type PortRange struct{ First, Last uint16 }

// Contains reports whether the port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// Node is a member of the roster.
type Node struct {
	Meta
	Addresses []netip.Addr // underlay, one per family, in order of preference
	Advertise netip.AddrPort
	MTU       int // bytes, of the underlay; 0: the interface's
	Drain     bool
	// External nodes run no daemon: they count as alive, and their subnets
	// are pinned.
	External bool
	VTEPMAC  [6]byte // of an external node's VXLAN device; zero: not written
	// PublicKey is the only one accepted, in base64; "": the one that it
	// announces.
	PublicKey string
}

// Subnet is a range of pod addresses, pinned to a node or free to be claimed.
type Subnet struct {
	Meta
	CIDRs      []netip.Prefix // one or two, one per family
	Node       string         // "": free
	Gateways   []netip.Addr   // one per CIDR, in the same order
	Reserved   []AddrRange
	Bridge     string
	MTU        int  // 0: the Cluster's
	Masquerade bool // the Cluster's where not written
}

// AddrRange is an inclusive range of addresses of one family.
type AddrRange struct{ First, Last netip.Addr }

// Contains reports whether the address is in the range.
func (r AddrRange) Contains(a netip.Addr) bool {
	return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Protocol is an IP protocol number (IANA) that a port can have.
type Protocol uint8

// The protocols.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String gives the name as documents write it.
func (p Protocol) String() string {
	switch p {
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return "TCP"
}

// Service is a name with stable addresses for a set of endpoints.
type Service struct {
	Meta
	Type     ServiceType
	Headless bool
	// ClusterIPs are at most one per family, the preferred family first;
	// empty for a headless service.
	ClusterIPs []netip.Addr
	// Families are those that the service wants, in order. Headless services
	// have them too.
	Families                 []Family
	Selector                 map[string]string // empty: endpoints come from slices
	Ports                    []ServicePort
	PortRanges               []ServicePortRange // the annotation poplin/port-range
	PublishNotReadyAddresses bool
	// Affinity is how long a client stays with its endpoint after its last
	// connection; 0: not at all. Whole seconds.
	Affinity time.Duration
	// ConsistentHash is poplin/load-balancing consistent-hash: a client's
	// address decides, the same way on every node.
	ConsistentHash bool
	// TrafficDistribution is "" where all endpoints are alike.
	TrafficDistribution TrafficDistribution
	// ExternalName is the name that type ExternalName stands for.
	ExternalName string
	// InternalLocal is internalTrafficPolicy Local: the cluster IPs lead to
	// endpoints of the client's node only.
	InternalLocal bool
	// ExternalLocal is externalTrafficPolicy Local: clients from outside get
	// endpoints of the node that they come to only, and keep their address.
	ExternalLocal bool
	ExternalIPs   []netip.Addr
	// LoadBalancerIPs are the addresses of type LoadBalancer; empty while it
	// is pending.
	LoadBalancerIPs []netip.Addr
	// PoolIPs are those of them that are poplin's to announce: from the
	// Cluster's pool, unless somebody else makes the load balancer.
	PoolIPs []netip.Addr
	// SourceRanges are the clients that may use load balancer addresses and
	// node ports, without ranges inside others; none: everybody.
	SourceRanges []netip.Prefix
	// HealthCheckNodePort says on every node whether an endpoint is there; 0:
	// there is none.
	HealthCheckNodePort uint16
}

// Family is an IP version.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String gives the name as documents write it.
func (f Family) String() string {
	if f == IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// FamilyOf gives the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// ServiceType is the type of a Service.
type ServiceType string

// The types.
const (
	ClusterIP    ServiceType = "ClusterIP"
	NodePort     ServiceType = "NodePort"
	LoadBalancer ServiceType = "LoadBalancer"
	ExternalName ServiceType = "ExternalName" // a name in DNS and nothing else
)

// TrafficDistribution says which endpoints are preferred where the traffic
// policy is Cluster.
type TrafficDistribution string

// The distributions; PreferClose is read as PreferSameZone.
const (
	PreferSameNode TrafficDistribution = "PreferSameNode"
	PreferSameZone TrafficDistribution = "PreferSameZone"
)

// ZoneLabel is a Node's label that says its zone.
const ZoneLabel = "topology.kubernetes.io/zone"

// LoadBalancerClass is the class of load balancers that poplin makes; so is
// none at all.
const LoadBalancerClass = "poplin/load-balancer"

// ServicePort is one port of a Service.
type ServicePort struct {
	Name     string // "" is allowed with one port only
	Protocol Protocol
	Port     uint16
	// Target is the endpoint's port: a number, or the name that the pod's
	// containers give it.
	Target   PortRef
	NodePort uint16 // 0: none
	Place    Place
}

// ServicePortRange is a range of ports of a Service. Its endpoints get
// connections on the port that the client names.
type ServicePortRange struct {
	PortRange
	Protocol Protocol
}

// PortRef names a port by number or by name.
type PortRef struct {
	Number uint16 // 0: by name
	Name   string
}

// EndpointSlice lists endpoints of a Service that selects no pods.
type EndpointSlice struct {
	Meta
	Service   string // name of the Service, in the same namespace
	Family    Family
	Weight    int // of each endpoint: the annotation poplin/weight, 1 where there is none
	Ports     []SlicePort
	Endpoints []SliceEndpoint
}

// SlicePort is a port of every endpoint of a slice.
type SlicePort struct {
	Name     string // of the service's port
	Protocol Protocol
	Port     uint16
}

// SliceEndpoint is one endpoint of a slice.
type SliceEndpoint struct {
	Address     netip.Addr
	Ready       bool
	Serving     bool
	Terminating bool
	NodeName    string
	Zone        string
	Hostname    string
	Place       Place
}
