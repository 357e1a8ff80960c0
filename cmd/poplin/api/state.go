package api

import (
	"net/netip"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// State is what a node observes and knows: enough to plan for it elsewhere.
type State struct {
	APIVersion         string           `json:"apiVersion"`
	Kind               string           `json:"kind"` // State
	Node               string           `json:"node"`
	Revision           string           `json:"revision"`
	Members            overlay.Snapshot `json:"members"`
	Underlay           compile.Underlay `json:"underlay"`
	BridgeNetfilter    bool             `json:"bridgeNetfilter"`
	BadChecksumOffload bool             `json:"badChecksumOffload,omitempty"`
	KernelWireGuard    bool             `json:"kernelWireGuard,omitempty"`
	PublicKey          string           `json:"publicKey,omitempty"`
	// Backends are those by which peers may reach the node.
	Backends     []view.Backend               `json:"backends,omitempty"`
	RunDir       string                       `json:"runDir,omitempty"`
	PodAddresses map[schema.Name][]netip.Addr `json:"podAddresses"`
	// PodsReady says which pods were found ready or not; missing where nobody
	// looks.
	PodsReady map[schema.Name]bool `json:"podsReady,omitempty"`
	Observed  reconciler.State     `json:"observed"`
	// Desired is what the node's own documents ask for now.
	Desired reconciler.State `json:"desired"`
}
