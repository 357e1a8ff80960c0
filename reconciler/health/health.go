// Package health finds out which of this node's pods are ready, by the rules
// of Kubernetes: a pod with readiness probes is ready when each of them says
// so, one without is ready as soon as something listens on all TCP ports that
// it declares, and one without TCP ports is ready at once.
//
// All looks are made from inside the pod's network namespace, so they need no
// route and no permission of a packet filter. Each probe has a goroutine of
// its own, which sleeps nearly always; a look for listeners is one request to
// the kernel per port (diag.go), since nothing tells of a listen(2).
package health

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	"github.com/poplin-net/poplin/schema"
)

// Pod is a pod whose namespace is there.
type Pod struct {
	Name schema.Name
	// Netns names its network namespace, "" for the host's.
	Netns string
	// Instance tells a namespace from an earlier one of the same name.
	Instance  uint64
	Addresses []netip.Addr // the one that is probed first
	TCPPorts  []uint16     // looked at if there are no probes
	Probes    []schema.Probe
	// Held says that the pod is known to have been ready. It stays so until a
	// look says otherwise. It counts when the Prober meets the pod.
	Held bool
}

// Result is what is thought of a pod.
type Result struct {
	Ready bool
	// Reason says why a pod is not ready, in a few words.
	Reason string
}

// Options are what a Prober needs of the host.
type Options struct {
	// Enter runs a function on a thread that is in a network namespace. It is
	// not called for the host's.
	Enter func(netns string, fn func() error) error
	// Commands says that exec probes may run. They run as the daemon's user,
	// so whoever writes the documents can run what they like on this node.
	Commands bool
	Log      *slog.Logger
}

// Prober keeps the readiness of pods. Its methods can be used by any
// goroutine.
type Prober struct {
	looks   looker
	log     *slog.Logger
	changes chan struct{}
	poke    chan struct{}
	slots   chan struct{} // of commands that run at one time
	// sightless guards the warning that listeners cannot be seen.
	sightless sync.Once

	mu      sync.Mutex
	watches map[schema.Name]*watch
}

// looker looks once. The looks of one pod for listeners follow each other.
type looker interface {
	// probe returns nil for success. It is over soon after the context ends.
	probe(context.Context, Pod, schema.Probe) error
	// listeners opens what listening is asked of.
	listeners(Pod) (listeners, error)
}

// listeners answers which ports have a listener.
type listeners interface {
	// missing returns the ports that nothing listens on at any address.
	missing(addresses []netip.Addr, ports []uint16) ([]uint16, error)
	Close() error
}

// New makes a Prober that knows no pods. It starts nothing.
func New(o Options) *Prober {
	h := newHost(o.Enter)
	h.commands = o.Commands
	return newProber(h, o.Log)
}

// maxCommands is how many exec probes run at one time.
const maxCommands = 16

func newProber(l looker, log *slog.Logger) *Prober {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Prober{
		looks: l, log: log, changes: make(chan struct{}, 1), poke: make(chan struct{}, 1),
		slots: make(chan struct{}, maxCommands), watches: map[schema.Name]*watch{},
	}
}

// Changes receives after the readiness of a pod changed.
func (p *Prober) Changes() <-chan struct{} { return p.changes }

// Configure says which pods there are. What is known of a pod is kept: all of
// it if nothing of the pod changed, else whether it was ready until the next
// look, unless its namespace is another one.
func (p *Prober) Configure(pods []Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := p.watches
	p.watches = make(map[schema.Name]*watch, len(pods))
	changed := false
	for _, pod := range pods {
		old := gone[pod.Name]
		if old != nil && samePod(old.pod, pod) {
			p.watches[pod.Name] = old
			delete(gone, pod.Name)
			continue
		}
		held := pod.Held
		if old != nil {
			held = old.pod.Instance == pod.Instance && old.pod.Netns == pod.Netns && old.result().Ready
		}
		p.watches[pod.Name] = newWatch(pod, held)
		now := p.watches[pod.Name].result().Ready
		changed = changed || now != (old != nil && old.result().Ready)
	}
	for _, w := range gone {
		w.end()
	}
	signal(p.poke)
	if changed {
		signal(p.changes)
	}
}

// samePod compares what a watch depends on.
func samePod(a, b Pod) bool {
	if a.Netns != b.Netns || a.Instance != b.Instance || !slices.Equal(a.Addresses, b.Addresses) ||
		!slices.Equal(a.TCPPorts, b.TCPPorts) || len(a.Probes) != len(b.Probes) {
		return false
	}
	// The probes of a document that did not change are the same ones.
	return len(a.Probes) == 0 || &a.Probes[0] == &b.Probes[0] || reflect.DeepEqual(a.Probes, b.Probes)
}

// Results returns what is thought of every pod of the last Configure.
func (p *Prober) Results() map[schema.Name]Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[schema.Name]Result, len(p.watches))
	for name, w := range p.watches {
		out[name] = w.result()
	}
	return out
}

// signal wakes the receiver of a channel of size one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
