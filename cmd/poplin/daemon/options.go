// Package daemon is what `poplin run` does: it wires the synced directory,
// gossip, the kernel and the socket to the reconciler's loop.
//
// documents.go decides which revision is followed; membership.go owns the
// gossip agent; round.go computes what a round is to reach and reports what
// it did; planner.go holds the computation, which plan.go uses without touching
// anything; readiness.go says which pods take connections; status.go says what
// is going on.
package daemon

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/schema/source"
)

// Options are the flags of run.
type Options struct {
	ConfigDir   string
	Node        string
	Join        []netip.AddrPort
	Bootstrap   bool
	KeyFile     string
	Underlay    string // "" or ADDRESS | INTERFACE | can-reach:ADDRESS
	StateDir    string
	RunDir      string
	MountNS     string // mount namespace for pods' namespaces, "" for our own
	SourceQuiet time.Duration
	SourceMode  source.Mode
	// ExecProbes lets exec probes of documents run, as the daemon's user.
	ExecProbes bool
	// Offloads changes by which means the overlay is fast; see CheckOffloads.
	Offloads string
	// Once makes one round without gossip and returns.
	Once    bool
	Version string
	Built   time.Time // of the binary; a clock before it is wrong
	Log     *slog.Logger
}

// CheckOffloads checks a change of the overlay's offloads, such as
// "-gso,-gro", "none" or "none,+vnet".
func CheckOffloads(text string) error {
	_, err := udp.ParseRungs(text)
	return err
}
