package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/health"
	"github.com/poplin-net/poplin/schema"
)

// readiness is what this node thinks of its own pods. A daemon that starts
// goes on with what was last announced, until it has looked itself: servers
// don't stop because the daemon does. The loop's goroutine uses it.
type readiness struct {
	prober *health.Prober
	log    *slog.Logger
	path   string
	// held are pods that were ready before the start and are not given to the
	// prober yet.
	held map[schema.Name]uint64
	// inherit says that an earlier release, which knew nothing of readiness,
	// had all pods that are there ready.
	inherit bool
	written map[schema.Name]uint64
}

// readinessFile is the form of the file: the pods that were announced as
// ready, with the inode of their namespace (0: the host's), which means
// something until the host restarts. Fields are only ever added.
type readinessFile struct {
	Version int                    `json:"version"`
	Boot    string                 `json:"boot"`
	Ready   map[schema.Name]uint64 `json:"ready"`
}

func readinessPath(stateDir string) string { return filepath.Join(stateDir, "ready.json") }

// openReadiness reads what was last announced. upgraded says that the state
// directory was in use before.
func openReadiness(stateDir string, upgraded bool, prober *health.Prober, log *slog.Logger) *readiness {
	r := &readiness{prober: prober, log: log, path: readinessPath(stateDir)}
	var err error
	r.held, err = readReady(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.inherit = upgraded
	case err != nil:
		log.Warn("pods start as not ready", "error", err)
	}
	return r
}

// readReady reads the file; it is empty if the host was restarted since.
func readReady(path string) (map[schema.Name]uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f readinessFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	if f.Version != 1 || f.Boot != bootID() {
		return map[schema.Name]uint64{}, nil
	}
	return f.Ready, nil
}

// lastHealth is what the daemon last announced of this node's pods, in any of
// the revisions, that are there; nil if nothing is known.
func lastHealth(o Options, namespaces map[string]uint64, revisions ...*revision) map[schema.Name]health.Result {
	ready, err := readReady(readinessPath(o.StateDir))
	if err != nil {
		return nil
	}
	out := map[schema.Name]health.Result{}
	for _, r := range revisions {
		if r == nil {
			continue
		}
		for _, p := range r.Config.Pods {
			if inode, there := instance(p, namespaces); there && p.NodeName == o.Node {
				before, known := ready[p.Meta.Name]
				out[p.Meta.Name] = health.Result{Ready: known && before == inode}
			}
		}
	}
	return out
}

// bootID names this run of the host's kernel (random(4)).
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// healthOf turns a file's pods into results.
func healthOf(ready map[schema.Name]uint64) map[schema.Name]health.Result {
	out := make(map[schema.Name]health.Result, len(ready))
	for name := range ready {
		out[name] = health.Result{Ready: true}
	}
	return out
}

// results is what is known of pods now. namespaces are those of pods that are
// there, with their inodes.
func (r *readiness) results(c *schema.Config, node string, namespaces map[string]uint64) map[schema.Name]health.Result {
	if r.inherit || len(r.held) > 0 {
		held := map[schema.Name]uint64{}
		for _, p := range c.PodsOn(node) {
			inode, there := instance(p, namespaces)
			before, known := r.held[p.Meta.Name]
			if there && (r.inherit || known && before == inode) {
				held[p.Meta.Name] = inode
			}
		}
		r.inherit, r.held = false, held
	}
	out := healthOf(r.held)
	maps.Copy(out, r.prober.Results())
	return out
}

// unrunProbes are the pods of a node that are never ready because commands of
// documents do not run there.
func unrunProbes(o Options, c *schema.Config) []api.Problem {
	var out []api.Problem
	for _, p := range c.Pods {
		if !o.ExecProbes && p.NodeName == o.Node && slices.ContainsFunc(p.Probes, func(probe schema.Probe) bool { return probe.Exec != nil }) {
			out = append(out, api.Problem{
				What:   fmt.Sprintf("pod %s has an exec probe, and this node runs no commands out of documents: it is not ready", p.Meta.Name),
				Remedy: "another kind of probe; or, if whoever writes the documents may run commands here, poplin run --exec-probes (POPLIN_EXEC_PROBES=true)",
			})
		}
	}
	return out
}

// instance is the inode of a pod's namespace, if it is there.
func instance(p *schema.Pod, namespaces map[string]uint64) (uint64, bool) {
	if p.HostNetwork {
		return 0, true
	}
	inode, there := namespaces[netnsOf(p)]
	return inode, there
}

func netnsOf(p *schema.Pod) string {
	if p.HostNetwork {
		return ""
	}
	return reconciler.NamespaceName(p.Namespace, p.Meta.Name.Name)
}

// follow has the prober look at the pods of a goal whose namespaces are
// there.
func (r *readiness) follow(f facts, g goal, namespaces map[string]uint64) {
	var pods []health.Pod
	for _, p := range f.revision.Config.PodsOn(f.node) {
		inode, there := instance(p, namespaces)
		if !there {
			continue
		}
		addresses := g.addresses[p.Meta.Name]
		if p.HostNetwork {
			addresses = f.underlay.Addresses
		}
		pods = append(pods, r.watched(p, inode, addresses))
	}
	r.prober.Configure(pods)
}

func (r *readiness) watched(p *schema.Pod, inode uint64, addresses []netip.Addr) health.Pod {
	_, held := r.held[p.Meta.Name]
	delete(r.held, p.Meta.Name)
	return health.Pod{
		Name: p.Meta.Name, Netns: netnsOf(p), Instance: inode, Addresses: addresses,
		TCPPorts: tcpPorts(p), Probes: p.Probes, Held: held,
	}
}

func tcpPorts(p *schema.Pod) []uint16 {
	var out []uint16
	for _, port := range p.Ports {
		if port.Protocol == schema.TCP {
			out = append(out, port.Port)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// remember writes which pods are announced as ready, for the next start.
// Losing it costs a moment in which they are not, so nothing waits for the
// disk.
func (r *readiness) remember(g goal, namespaces map[string]uint64) {
	ready := map[schema.Name]uint64{}
	for _, p := range g.view.Self.Pods {
		if p.Ready {
			// The host's network has no name here, and 0.
			ready[schema.Name{Namespace: p.Namespace, Name: p.Name}] = namespaces[reconciler.NamespaceName(p.Namespace, p.Name)]
		}
	}
	if r.written != nil && maps.Equal(ready, r.written) {
		return
	}
	text, err := json.Marshal(readinessFile{1, bootID(), ready})
	if err == nil {
		err = replace(r.path, append(text, '\n'))
	}
	if err != nil {
		r.log.Warn("readiness is not kept for the next start", "error", err)
		return
	}
	r.written = ready
}

// replace replaces a file by rename.
func replace(path string, content []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
