package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/overlay/wg"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/health"
	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

// tunnelNote is what a plan without the daemon cannot show.
const tunnelNote = "the daemon does not run: the peers of its tunnel are not shown"

// Plan implements api.Backend: what would change on this host, with the
// documents of a tree or those that lie in the daemon's directory now.
func (d *Daemon) Plan(ctx context.Context, tree *api.Tree) (api.Plan, error) {
	loop := d.loop.Load()
	if loop == nil {
		return api.Plan{}, errors.New("there is no accepted revision yet")
	}
	next, err := d.planned(tree)
	if err != nil {
		return api.Plan{}, err
	}
	var plan api.Plan
	loop.Between(func(e *reconciler.Engine) {
		f := d.account.read().facts
		if f.revision == nil {
			err = errors.New("the first round is not done yet")
			return
		}
		started := time.Now()
		var seen reconciler.Observation
		if seen, err = e.Observe(ctx); err != nil {
			return
		}
		f.observed, f.revision = seen.State, next
		f.members = d.membership.snapshot()
		g := foresee(f, d.compiler.Fork(), seen.Conflicts)
		ops := e.Plan(seen, reconciler.Desired{State: g.State, Cause: causeOf(d.documents.now(), next)})
		plan = planOf(f, g, ops, seen, time.Since(started))
		plan.From = d.documents.now().ID
	})
	if current := d.documents.now(); err == nil && tree == nil {
		plan.HeldBack = guard(current.Config, next.Config)
	}
	return plan, err
}

// causeOf says what made a planned state differ from the current one.
func causeOf(current, next *revision) reconciler.Cause {
	if current.Digest != next.Digest {
		return reconciler.CauseConfig
	}
	return reconciler.CauseMembership
}

// planned parses the documents to plan for.
func (d *Daemon) planned(tree *api.Tree) (*revision, error) {
	current := d.documents.now()
	if tree == nil {
		read, err := source.Read(d.o.ConfigDir)
		if err != nil {
			return nil, err
		}
		tree = &api.Tree{Revision: read.Label(), Digest: read.Digest, Files: read.Files}
	}
	if tree.Digest == current.Digest {
		return current, nil
	}
	return parseTree(*tree)
}

func parseTree(tree api.Tree) (*revision, error) {
	parser, err := schema.NewParser()
	if err != nil {
		return nil, err
	}
	config, diagnostics := parser.Parse(tree.Files)
	if config == nil {
		return nil, &api.InvalidError{Diagnostics: diagnostics}
	}
	return &revision{Config: config, ID: tree.Revision, Digest: tree.Digest, Accepted: time.Now()}, nil
}

func planOf(f facts, g goal, ops reconciler.Plan, seen reconciler.Observation, took time.Duration) api.Plan {
	p := api.Plan{
		APIVersion: api.APIVersion, Kind: "Plan", Node: f.node, Revision: f.revision.ID, Read: took,
		Operations: api.Operations(ops), Summary: ops.Summary(g.State),
	}
	for _, c := range seen.Conflicts {
		p.Conflicts = append(p.Conflicts, api.Problem{What: c.What, Remedy: c.Remedy})
	}
	for _, problem := range g.problems {
		p.Problems = append(p.Problems, api.Problem(problem))
	}
	if !g.complete {
		p.Notes = append(p.Notes, "this node waits for "+g.waiting+": what is there stays until then")
	}
	return p
}

// State implements api.Backend.
func (d *Daemon) State(ctx context.Context) (api.State, error) {
	loop := d.loop.Load()
	if loop == nil {
		return api.State{}, errors.New("there is no accepted revision yet")
	}
	var state api.State
	var err error
	loop.Between(func(e *reconciler.Engine) {
		var seen reconciler.Observation
		if seen, err = e.Observe(ctx); err != nil {
			return
		}
		a := d.account.read()
		state = stateOf(a.facts, a.goal, seen.State)
	})
	return state, err
}

func stateOf(f facts, g goal, observed reconciler.State) api.State {
	s := api.State{
		APIVersion: api.APIVersion, Kind: "State", Node: f.node, Members: f.members, Underlay: f.underlay,
		BridgeNetfilter: f.bridgeNF, BadChecksumOffload: f.badChecksums, KernelWireGuard: f.kernelWG, PublicKey: f.publicKey, Backends: f.backends, RunDir: f.runDir, Resolver: f.resolver, PodAddresses: f.addresses, Observed: observed, Desired: g.State,
	}
	if f.revision != nil {
		s.Revision = f.revision.ID
	}
	if f.health != nil {
		s.PodsReady = make(map[schema.Name]bool, len(f.health))
	}
	for name, result := range f.health {
		s.PodsReady[name] = result.Ready
	}
	return s
}

// local is what can be said of this host without its daemon: from the state
// directory and the kernel.
type local struct {
	facts facts
	seen  reconciler.Observation
	took  time.Duration
	last  *revision // the last good copy, or nil
}

// readLocal reads the host. It changes nothing.
func readLocal(ctx context.Context, o Options, next *revision) (local, error) {
	var l local
	docs, err := newDocuments(slog.New(slog.DiscardHandler), o.StateDir)
	if err != nil {
		return l, err
	}
	docs.restore()
	l.last = docs.now()
	if next == nil {
		next = l.last
	}
	if next == nil {
		return l, fmt.Errorf("no documents: neither a directory nor a last good copy in %s", o.StateDir)
	}
	t, err := openTargets(o, next.Config.Cluster.Meta.Name.Name, nil, true)
	if err != nil {
		return l, err
	}
	defer t.close()
	book, err := openAddressBook(o.StateDir)
	if err != nil {
		return l, err
	}
	backends, err := openBackendBook(o.StateDir)
	if err != nil {
		return l, err
	}
	keys, err := wg.OpenKeys(o.StateDir)
	if err != nil {
		return l, err
	}
	members, err := overlay.ReadState(o.StateDir, settingsOf(next.Config, o.Node))
	if err != nil {
		return l, err
	}
	// What the ledger says is all there is to know now.
	members.Joined = true
	started := time.Now()
	if l.seen, err = reconciler.Observe[reconciler.Observer](ctx, t.linux, t.nft); err != nil {
		return l, err
	}
	l.took = time.Since(started)
	host, err := t.linux.Facts(ctx)
	if err != nil {
		return l, err
	}
	l.facts = facts{
		node: o.Node, runDir: o.RunDir, resolver: hostResolver(), revision: next, members: members, addresses: book.pods, observed: l.seen.State,
		gossip: true, bridgeNF: host.BridgeNetfilter, badChecksums: host.BadChecksumOffload, backends: backends.all(),
		kernelWG: host.WireGuard, publicKey: keys.Public(),
		health: lastHealth(o, t.linux.Namespaces(), l.last, next),
	}
	for i := range l.facts.members.Peers {
		l.facts.members.Peers[i].State = overlay.PeerAlive
	}
	l.facts.underlay, err = underlayOf(ctx, t.linux, o, next)
	return l, err
}

// PlanLocal plans for this host without its daemon. dir is the tree to plan
// for.
func PlanLocal(ctx context.Context, o Options, dir string) (api.Plan, error) {
	next, err := readRevision(dir)
	if err != nil {
		return api.Plan{}, err
	}
	l, err := readLocal(ctx, o, next)
	if err != nil {
		return api.Plan{}, err
	}
	compiler := compile.New()
	first := l.last == nil
	var before reconciler.State
	var from string
	if !first {
		f := l.facts
		f.revision = l.last
		before, from = withoutTunnel(reach(f, compiler).State), l.last.ID
	}
	g := foresee(l.facts, compiler, l.seen.Conflicts)
	tunnelled := hasTunnel(g.State)
	g.State = withoutTunnel(g.State)
	ops := reconciler.Diff(l.seen.State, g.State)
	ops = reconciler.Attribute(ops, before, g.State, reconciler.CauseConfig, first)
	plan := planOf(l.facts, g, ops, l.seen, l.took)
	plan.From = from
	if tunnelled {
		plan.Notes = append(plan.Notes, tunnelNote)
	}
	return plan, nil
}

// StateLocal is the state of this host without its daemon.
func StateLocal(ctx context.Context, o Options, dir string) (api.State, error) {
	next, err := readRevision(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return api.State{}, err
	}
	l, err := readLocal(ctx, o, next)
	if err != nil {
		return api.State{}, err
	}
	g := reach(l.facts, compile.New())
	g.State = withoutTunnel(g.State)
	return stateOf(l.facts, g, l.seen.State), nil
}

// PlanOffline plans for a host whose state was saved, for any user anywhere.
func PlanOffline(state api.State, dir, node string) (api.Plan, error) {
	if node != "" && node != state.Node {
		return api.Plan{}, fmt.Errorf("the state is of node %s, not %s", state.Node, node)
	}
	next, err := readRevision(dir)
	if err != nil {
		return api.Plan{}, err
	}
	f := facts{
		node: state.Node, runDir: state.RunDir, resolver: state.Resolver, revision: next, members: state.Members, underlay: state.Underlay, bridgeNF: state.BridgeNetfilter,
		badChecksums: state.BadChecksumOffload, kernelWG: state.KernelWireGuard, publicKey: state.PublicKey, backends: state.Backends,
		addresses: state.PodAddresses, observed: state.Observed, gossip: true,
	}
	if state.PodsReady != nil {
		f.health = make(map[schema.Name]health.Result, len(state.PodsReady))
	}
	for name, ready := range state.PodsReady {
		f.health[name] = health.Result{Ready: ready}
	}
	g := foresee(f, compile.New(), nil)
	if !hasTunnel(state.Desired) {
		g.State = withoutTunnel(g.State)
	}
	ops := reconciler.Attribute(reconciler.Diff(state.Observed, g.State), state.Desired, g.State, reconciler.CauseConfig, false)
	plan := planOf(f, g, ops, reconciler.Observation{}, 0)
	plan.From = state.Revision
	return plan, nil
}

func readRevision(dir string) (*revision, error) {
	tree, err := source.Read(dir)
	if err != nil {
		return nil, err
	}
	return parseTree(api.Tree{Revision: tree.Label(), Digest: tree.Digest, Files: tree.Files})
}

func isTunnel(o reconciler.Object) bool {
	switch o.Kind() {
	case reconciler.KindTunnel, reconciler.KindTunnelPeer, reconciler.KindWireGuard, reconciler.KindWireGuardPeer:
		return true
	}
	return false
}

// withoutTunnel leaves out what only a running daemon has.
func withoutTunnel(s reconciler.State) reconciler.State {
	return s.Only(func(o reconciler.Object) bool { return !isTunnel(o) })
}

func hasTunnel(s reconciler.State) bool {
	for g := range s.Groups() {
		if slices.ContainsFunc(g.Objects, isTunnel) {
			return true
		}
	}
	return false
}
