package api

import "net/netip"

// ServiceExplanation says what a service is made of on one node, and why.
type ServiceExplanation struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"` // ServiceExplanation
	Node       string            `json:"node"`
	Revision   string            `json:"revision"`
	Namespace  string            `json:"namespace"`
	Name       string            `json:"name"`
	Origin     Origin            `json:"origin"`
	Type       string            `json:"type"`
	Selector   map[string]string `json:"selector,omitempty"` // none: endpoints are in slices
	// Notes say what holds for the service as a whole.
	Notes []string `json:"notes,omitempty"`
	// Ports has each port in each family; all ranges of ports together are one.
	Ports []ExplainedPort `json:"ports"`
	// NotSelected are pods that have some of the selector's labels.
	NotSelected []ExplainedEndpoint `json:"notSelected,omitempty"`
	// Elements are what the service comes down to in nftables.
	Elements []ExplainedElement `json:"elements"`
}

// ExplainedPort is one port of a service in one family.
type ExplainedPort struct {
	Name       string              `json:"name,omitempty"`
	Protocol   string              `json:"protocol,omitempty"` // missing for ranges of ports
	Port       uint16              `json:"port,omitempty"`
	TargetPort string              `json:"targetPort,omitempty"` // a number, or a name
	Family     string              `json:"family"`
	Origin     Origin              `json:"origin"`
	Frontends  []ExplainedFrontend `json:"frontends"`
	Endpoints  []ExplainedEndpoint `json:"endpoints"`
	// Slots and LocalSlots are how many slots there are, of all endpoints and
	// of this node's, where a frontend leads to those.
	Slots      int `json:"slots"`
	LocalSlots int `json:"localSlots,omitempty"`
}

// ExplainedFrontend is a frontend and where it leads.
type ExplainedFrontend struct {
	Frontend
	// To is where connections go: all (endpoints), local (endpoints of this
	// node), refused, dropped.
	To string `json:"to"`
	// Outside is where those of clients outside of pods and this host go, if
	// that is not the same: local, dropped.
	Outside string `json:"outside,omitempty"`
	// Restricted: only clients in Sources may use it, and others are dropped.
	Restricted bool           `json:"restricted,omitempty"`
	Sources    []netip.Prefix `json:"sources,omitempty"`
	// HashSlots is how many slots clients' addresses are spread over; 0 where
	// endpoints are drawn at random.
	HashSlots int `json:"hashSlots,omitempty"`
	// Affinity is for how many seconds a client stays with its endpoint.
	Affinity int `json:"affinity,omitempty"`
}

// ExplainedEndpoint is a pod that the service selects, or an endpoint of a
// slice.
type ExplainedEndpoint struct {
	Pod   string `json:"pod,omitempty"`   // NAMESPACE/NAME
	Slice string `json:"slice,omitempty"` // NAMESPACE/NAME
	Node  string `json:"node,omitempty"`
	// Address is missing where there is none, or the pod has not this port.
	Address string `json:"address,omitempty"` // 10.244.1.2:8080
	Origin  Origin `json:"origin"`
	// In: it takes new connections. Slots and LocalSlots are its shares of them.
	In         bool   `json:"in"`
	Slots      int    `json:"slots"`
	LocalSlots int    `json:"localSlots,omitempty"`
	Reason     string `json:"reason"`
}

// ExplainedElement is one object in nftables, in the words of a plan.
type ExplainedElement struct {
	Text string `json:"text"`
	// InKernel: the kernel has it now, just so.
	InKernel bool `json:"inKernel"`
}
