package schema

import (
	"net/netip"
	"time"
)

// Pod is a network namespace with labels on one node, or with HostNetwork the
// node's own address.
type Pod struct {
	Meta
	NodeName    string
	HostNetwork bool
	Hostname    string
	Subdomain   string
	DNSPolicy   DNSPolicy
	DNSConfig   DNSConfig
	Ports       []ContainerPort // of all containers, in order
	// Probes are the readiness probes of all containers, in order; the pod is
	// ready when all of them say so. Without any, it is ready when something
	// listens on its TCP ports.
	Probes []Probe
	// Sysctls are those of securityContext that start with net., keys with
	// slashes (net/core/somaxconn).
	Sysctls map[string]string
	// StaticIPs is the annotation poplin/ip, at most one per family.
	StaticIPs []netip.Addr
	// Subnet is the annotation poplin/subnet: the Subnet to take an address from.
	Subnet string
	// Weight is the annotation poplin/weight, 1 where there is none.
	Weight int
}

// DNSPolicy says what a pod's resolv.conf begins with.
type DNSPolicy string

// The policies.
const (
	DNSClusterFirst            DNSPolicy = "ClusterFirst"
	DNSClusterFirstWithHostNet DNSPolicy = "ClusterFirstWithHostNet"
	DNSDefault                 DNSPolicy = "Default"
	DNSNone                    DNSPolicy = "None"
)

// DNSConfig is what a pod's resolv.conf has besides.
type DNSConfig struct {
	Nameservers []netip.Addr
	Searches    []string
	Options     []DNSOption
}

// DNSOption is an option of resolv.conf(5); Value is "" where it has none.
type DNSOption struct{ Name, Value string }

// ContainerPort is a port that a pod says it listens on.
type ContainerPort struct {
	Name     string
	Port     uint16
	Protocol Protocol
}

// Probe looks whether a container is ready, as Kubernetes' readinessProbe
// does. Exactly one of TCP, HTTP and Exec is set.
type Probe struct {
	TCP  *TCPProbe
	HTTP *HTTPProbe
	Exec []string // a command and its arguments; exit code 0 is success

	InitialDelay time.Duration // from when the pod is there to the first look
	Period       time.Duration
	Timeout      time.Duration // of one look
	// So many looks in a row change what is thought of the container.
	SuccessThreshold, FailureThreshold int
}

// TCPProbe succeeds when the port accepts a connection.
type TCPProbe struct {
	Host netip.Addr // zero: the pod's first address
	Port uint16
}

// HTTPProbe succeeds when a GET is answered with a status from 200 to 399.
type HTTPProbe struct {
	Host    netip.Addr // zero: the pod's first address
	Port    uint16
	Path    string // starts with /; with a query, if there is one
	TLS     bool   // certificates are not looked at
	Headers []Header
}

// Header is a field of an HTTP request; Host stands for the request's host.
type Header struct{ Name, Value string }
