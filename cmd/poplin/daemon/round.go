package daemon

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/linux"
	"github.com/poplin-net/poplin/schema"
)

// diskRetry is how long a full disk is left alone.
const diskRetry = 5 * time.Second

// desire computes what a round is to reach. It runs on the loop's goroutine.
func (d *Daemon) desire(ctx context.Context, observed reconciler.Observation) (reconciler.Desired, error) {
	revision := d.documents.now()
	c := revision.Config
	f := facts{
		node: d.o.Node, runDir: d.o.RunDir, resolver: hostResolver(), revision: revision, addresses: d.addresses.pods, observed: observed.State,
		gossip: !d.o.Once, standing: d.standing, links: d.links.Of(observed.State), heard: d.heard,
	}
	host, err := d.targets.linux.Facts(ctx)
	if err != nil {
		return reconciler.Desired{}, err
	}
	f.bridgeNF, f.badChecksums = host.BridgeNetfilter, host.BadChecksumOffload
	f.kernelWG = host.WireGuard
	var underlayProblem error
	f.underlay, underlayProblem = underlayOf(ctx, d.targets.linux, d.o, revision)
	if underlayProblem != nil {
		d.account.waitFor("an underlay address: " + underlayProblem.Error())
		return reconciler.Desired{}, fmt.Errorf("underlay: %w", underlayProblem)
	}
	if f.gossip {
		if err := d.membership.follow(ctx, c, f.underlay.Addresses[0]); err != nil {
			return reconciler.Desired{}, err
		}
		f.members = d.membership.snapshot()
		d.expireBackends(f)
		f.backends = d.backends.all()
	}
	if f.publicKey, err = d.publicKey(f); err != nil {
		return reconciler.Desired{}, err
	}
	namespaces := d.targets.linux.Namespaces()
	if f.gossip {
		f.health = d.readiness.results(c, d.o.Node, namespaces)
	}
	g := reach(f, d.compiler)
	if len(g.Subnets) > 0 && !sameAddresses(g.addresses, d.addresses.pods) {
		if err := d.addresses.write(g.addresses); err != nil {
			f.frozen = true
			time.AfterFunc(diskRetry, d.kick)
			g = reach(f, d.compiler)
			g.problems = append(g.problems, compile.Problem{What: err.Error() + ": new pods have none", Remedy: "df " + d.o.StateDir})
		}
	}
	d.announce(revision, g)
	if f.gossip {
		d.paths.Follow(pathsOf(f, g))
	}
	if f.gossip {
		d.readiness.remember(g, namespaces)
		d.readiness.follow(f, g, namespaces)
	}
	now := inputs{revision.Digest, f.underlay, f.members.Joined, f.members.Claims, f.members.Owners, g.view.Peers}
	cause := d.inputs.cause(now)
	d.inputs = now
	d.account.computed(f, g)
	return reconciler.Desired{State: g.State, Cause: cause, Complete: g.complete}, nil
}

// underlayOf finds this node's end of the underlay: the one that a flag
// names, or the Node document's address, or the default route's.
func underlayOf(ctx context.Context, t *linux.Target, o Options, r *revision) (compile.Underlay, error) {
	choice := o.Underlay
	var limit int
	if n := nodeOf(r.Config, o.Node); n != nil {
		limit = n.MTU
		if choice == "" {
			choice = n.Addresses[0].String()
		}
	}
	u, err := t.Underlay(ctx, choice)
	if err != nil {
		return compile.Underlay{}, err
	}
	out := compile.Underlay{Link: u.Link, Addresses: u.Addresses, MTU: u.MTU, OnLink: u.Prefixes}
	if limit > 0 {
		out.MTU = min(out.MTU, limit)
	}
	out.Addresses = preferFamily(out.Addresses, r.Config.Cluster.Overlay.UnderlayFamily)
	return out, nil
}

// preferFamily puts the addresses of the family that the Cluster wants for
// the underlay first.
func preferFamily(addresses []netip.Addr, family string) []netip.Addr {
	out := slices.Clone(addresses)
	if family == "ipv4" || family == "ipv6" {
		slices.SortStableFunc(out, func(a, b netip.Addr) int {
			return compile.PreferFirst(a.Is4() == (family == "ipv4"), b.Is4() == (family == "ipv4"))
		})
	}
	return out
}

// announce tells the other nodes about this one.
func (d *Daemon) announce(r *revision, g goal) {
	a := overlay.Announcement{
		Underlay:  advertised(r.Config, d.o.Node, g.host.Underlay.Addresses),
		Transport: transportOf(d.announced(r.Config.Cluster)), MTU: g.MTU,
		NeedsDaemon: needsDaemon(d.announced(r.Config.Cluster), g.host), Revision: r.ID, Digest: r.Digest, Health: true,
	}
	a.PublicKey = d.keyReady
	if rejected := d.documents.state().rejected; rejected != nil {
		a.Rejected = &overlay.Rejection{Revision: rejected.Revision, Error: firstError(rejected.Diagnostics)}
	}
	for _, p := range g.view.Self.Pods {
		a.Pods = append(a.Pods, overlay.PodEntry{Namespace: p.Namespace, Name: p.Name, Addresses: p.Addresses, Ready: p.Ready})
	}
	d.membership.announce(a)
}

// advertised are the addresses under which others reach this node.
func advertised(c *schema.Config, self string, addresses []netip.Addr) []netip.Addr {
	if n := nodeOf(c, self); n != nil && n.Advertise.IsValid() {
		return underlayAddresses(n)
	}
	return addresses
}

// report keeps the account of a round. It runs on the loop's goroutine.
func (d *Daemon) report(r reconciler.Round) {
	waiting := d.account.done(r)
	d.backendReady(r)
	if r.Err == nil && r.Desired.Complete {
		d.kept.discard() // what is wanted has been taken
	}
	if len(r.Plan) > 0 || d.documents.toKeep() {
		select {
		case d.idle <- struct{}{}:
		default:
		}
	}
	d.logRound(r)
	if a := d.account.read(); a.facts.revision != nil {
		d.outside.follow(r, a.facts, a.goal)
		d.resolver.follow(a.facts, a.goal)
	}
	// Pods whose interface came or went are to be announced; the round after
	// this one does it.
	if before := d.standing; !maps.Equal(before, d.stand(r)) {
		d.kick()
	}
	if waiting != "" {
		d.notify.ready("waiting for " + waiting)
	} else {
		d.notify.ready("in sync with " + d.documents.now().ID)
	}
}

// stand notes which pods' interfaces are there after a round: all that it
// was to reach, if it did.
func (d *Daemon) stand(r reconciler.Round) map[string]bool {
	d.standing = map[string]bool{}
	if r.Err == nil && len(r.Conflicts) == 0 {
		for _, p := range d.account.read().goal.view.Self.Pods {
			if len(p.Addresses) == 0 {
				continue // in the host's network
			}
			d.standing[reconciler.NamespaceName(p.Namespace, p.Name)] = true
		}
	}
	return d.standing
}

// logRound writes a line for what a round did, and none if it did nothing.
func (d *Daemon) logRound(r reconciler.Round) {
	if r.Err != nil {
		d.log.Error("round failed", "error", firstLines(r.Err))
	}
	if len(r.Plan) == 0 {
		return
	}
	s := r.Plan.Summary(r.Desired.State)
	attributes := []any{"revision", d.documents.now().ID, "add", s.Add, "change", s.Change, "delete", s.Delete,
		"cause", r.Plan[0].Cause, "took", r.Took.Round(10 * time.Microsecond)}
	if apply := d.account.read().lastApply; apply != nil && apply.Reaction != "" {
		attributes = append(attributes, "reaction", apply.Reaction)
	}
	d.log.Info("plan applied", attributes...)
	drifted := 0
	first := ""
	for _, op := range r.Plan {
		if op.Cause == reconciler.CauseDrift {
			if drifted++; drifted == 1 {
				first = op.String()
			}
		}
		d.log.Debug("operation", "cause", op.Cause, "operation", op)
	}
	if drifted > 0 {
		d.log.Info("drift repaired", "count", drifted, "first", first)
	}
}
