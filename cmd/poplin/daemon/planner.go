package daemon

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/health"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// facts are everything that a desired state is computed from. The same facts
// give the same state, in the daemon, for `plan` and offline.
type facts struct {
	node     string
	revision *revision
	members  overlay.Snapshot
	underlay compile.Underlay
	bridgeNF bool
	// badChecksums says that this kernel gets the checksums of VXLAN wrong.
	badChecksums bool
	// kernelWG says that the kernel has WireGuard devices, publicKey is the
	// node's, "" if it has none yet.
	kernelWG  bool
	publicKey string
	// backends are those by which peers may reach this node so far.
	backends  []view.Backend
	runDir    string
	addresses map[schema.Name][]netip.Addr // of this node's pods, as last assigned
	// frozen says that no new addresses may be given to pods: they could not
	// be kept.
	frozen   bool
	observed reconciler.State
	links    reconciler.State // those of observed; empty: nobody looked for them
	heard    heardPods        // from one round to the next, or nil
	// standing are the namespaces of pods that stood at the end of the last
	// round: a pod that is being repaired in this one stays ready.
	standing map[string]bool
	// health is what is known of this node's pods; nil where nobody looks:
	// they are then ready as soon as they stand.
	health map[schema.Name]health.Result
	// gossip says that members tell who is alive; without it (--once, plan
	// of another host) documents are all there is.
	gossip bool
}

// goal is a computed desired state, and what else the computation found.
type goal struct {
	compile.Result
	view      view.View
	host      compile.Host
	addresses map[schema.Name][]netip.Addr
	standing  map[string]bool // namespaces of pods that can be reached
	problems  []compile.Problem
	// complete says that deletions are safe: gossip has been heard, and this
	// node's own claims are settled.
	complete bool
	waiting  string
}

// reach computes the goal from the facts. It is pure but for the compiler's
// memory.
func reach(f facts, compiler *compile.Compiler) goal {
	c := f.revision.Config
	claims, unsettled := ownClaims(f.members)
	subnets := compile.OwnSubnets(c, f.node, claims)
	assigned, problems := compile.Assign(c, f.node, subnets, f.addresses)
	if f.frozen {
		maps.DeleteFunc(assigned, func(pod schema.Name, now []netip.Addr) bool { return !slices.Equal(now, f.addresses[pod]) })
	}
	g := goal{addresses: assigned, problems: problems, standing: standing(f)}
	g.view = view.View{
		Self:  view.Self{Name: f.node, Subnets: claims, Pods: ownPods(f, g), Former: former(f)},
		Peers: f.heard.peers(c, f.node, f.members),
	}
	if !f.gossip {
		staticPods(c, g.view.Peers)
	}
	g.host = compile.Host{Node: f.node, Underlay: f.underlay, BridgeNetfilter: f.bridgeNF, BadChecksumOffload: f.badChecksums, KernelWireGuard: f.kernelWG, PublicKey: f.publicKey, PodAddresses: assigned, RunDir: f.runDir}
	g.Result = compiler.Compile(compile.Input{
		Config: c, View: g.view, Host: g.host, Revision: f.revision.ID, Observed: f.observed,
		Unheard: f.gossip && !f.members.Joined,
	})
	g.problems = append(g.problems, g.Result.Problems...)
	g.complete = (f.members.Joined || !f.gossip) && !unsettled && len(subnets) > 0
	switch {
	case f.members.Waiting != "" && f.gossip:
		g.waiting = f.members.Waiting
	case len(subnets) == 0 && f.gossip:
		g.waiting = "a subnet: none is pinned to this node and none is claimed yet"
	case len(subnets) == 0:
		g.waiting = "a subnet: none is pinned to this node"
	}
	return g
}

// foresee computes the goal of the round after next. Pods are endpoints only
// once they stand: a plan says what comes of it when the first round has made
// them, and servers listen in them. With conflicts that may not come to pass
// (see Daemon.stand).
func foresee(f facts, compiler *compile.Compiler, conflicts []reconciler.Conflict) goal {
	g := reach(f, compiler)
	if len(conflicts) > 0 {
		return g
	}
	f.standing = standing(f)
	for _, p := range g.view.Self.Pods {
		f.standing[reconciler.NamespaceName(p.Namespace, p.Name)] = true
		name := schema.Name{Namespace: p.Namespace, Name: p.Name}
		if _, seen := f.health[name]; !seen && f.health != nil {
			f.health = maps.Clone(f.health)
			f.health[name] = health.Result{Ready: true}
		}
	}
	return reach(f, compiler)
}

// former are the backends that peers may still use, beside the documents' own.
func former(f facts) []view.Backend {
	own := ownBackend(f.revision.Config.Cluster, f.node)
	return slices.DeleteFunc(slices.Clone(f.backends), func(b view.Backend) bool { return b == own })
}

// ownClaims are the claims whose addresses this node uses: confirmed ones,
// and lost ones whose pods keep running. unsettled says that there is one
// that is only proposed.
func ownClaims(s overlay.Snapshot) (claims []netip.Prefix, unsettled bool) {
	for _, c := range s.Claims {
		if c.Stage == overlay.Proposed {
			unsettled = true
			continue
		}
		claims = append(claims, c.Prefix)
	}
	return claims, unsettled
}

// standing are the namespaces whose pods can be reached: their interface is
// there now, or was at the end of the last round.
func standing(f facts) map[string]bool {
	out := maps.Clone(f.standing)
	if out == nil {
		out = map[string]bool{}
	}
	links := f.links
	if links.Len() == 0 {
		links = f.observed
	}
	for g := range links.Groups() {
		if g.Objects[0].Kind() >= reconciler.KindTable {
			continue // elements are many, and no links are among them
		}
		for _, o := range g.Objects {
			if l, ok := o.(reconciler.Link); ok && l.Netns != "" && !l.Down {
				out[l.Netns] = true
			}
		}
	}
	return out
}

// ownPods are this node's pods: those with an address of their own, and those
// in the host's network. They are ready if they can be reached and what looks
// at them says so.
func ownPods(f facts, g goal) []view.Pod {
	var out []view.Pod
	for _, p := range f.revision.Config.PodsOn(f.node) {
		pod := view.Pod{Namespace: p.Namespace, Name: p.Meta.Name.Name, Ready: f.health == nil || f.health[p.Meta.Name].Ready}
		if !p.HostNetwork {
			pod.Addresses = g.addresses[p.Meta.Name]
			pod.Ready = pod.Ready && g.standing[netnsOf(p)]
			if len(pod.Addresses) == 0 {
				continue
			}
		}
		out = append(out, pod)
	}
	return out
}

// sameAddresses reports whether two assignments are equal.
func sameAddresses(a, b map[schema.Name][]netip.Addr) bool {
	return maps.EqualFunc(a, b, slices.Equal[[]netip.Addr])
}
