package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

// Status implements api.Backend.
func (d *Daemon) Status() api.Status {
	docs := d.documents.state()
	a := d.account.read()
	s := api.Status{
		APIVersion: api.APIVersion, Kind: "Status", Node: d.o.Node, Version: d.o.Version, Started: d.started,
		Waiting: a.waiting, Rejected: docs.rejected, HeldBack: docs.held, Source: sourceOf(docs.source, d.o.ConfigDir),
		Drift: a.drift, LastDrift: a.lastDrift, LastApply: a.lastApply, Applied: a.applied, Rounds: a.rounds,
		Dropped: map[string]int{},
	}
	if docs.current == nil {
		s.Ready, s.Waiting = true, "documents: "+cmp.Or(docs.source.Problem, string(docs.source.State))
	} else {
		c := docs.current.Config
		s.Cluster, s.Revision, s.Digest, s.Accepted, s.Ignored = c.Cluster.Meta.Name.Name, docs.current.ID, docs.current.Digest, &docs.current.Accepted, c.Ignored
		s.Ready = a.rounds > 0
		s.InSync = a.settled == docs.current.Digest && docs.held == nil
	}
	// Gossip goes on between rounds; what it says is read afresh.
	if a.facts.revision != nil {
		a.facts.members = d.membership.snapshot()
		// So do looks at pods that change nothing but the reason.
		a.facts.health = d.readiness.prober.Results()
	}
	fillNode(&s, a)
	fillMembers(&s, a)
	fillServices(&s, a.goal.Services)
	fillAnnounced(&s, a.goal.Outside.Balancers)
	d.fillTunnel(&s)
	d.fillForged(&s)
	s.Problems = slices.Concat(problemsOf(docs, a), d.lies(), d.orphans(), d.fullTables(), closedSockets(d.outside.listeners.Problems()))
	if docs.current != nil {
		dns, problems := d.resolver.status(docs.current.Config.Cluster)
		s.DNS, s.Problems = &dns, append(s.Problems, problems...)
		s.Problems = append(s.Problems, unrunProbes(d.o, docs.current.Config)...)
	}
	return s
}

func sourceOf(s source.Snapshot, path string) api.Source {
	out := api.Source{State: string(s.State), Path: path, Problem: s.Problem, Polling: s.Polling}
	if s.Tree.Resolved != path {
		out.Target = s.Tree.Resolved
	}
	return out
}

func fillNode(s *api.Status, a accountState) {
	g := a.goal
	if a.facts.revision == nil {
		return
	}
	c := a.facts.revision.Config
	s.Underlay = api.Underlay{Link: g.host.Underlay.Link, Addresses: g.host.Underlay.Addresses, MTU: g.host.Underlay.MTU}
	own := ownBackend(c.Cluster, s.Node)
	s.Overlay = api.Overlay{Backend: own.Kind, Port: own.Port, MTU: g.MTU, VTEP: transportOf(own).VTEP}
	for _, f := range g.view.Self.Former {
		s.Overlay.Former = append(s.Overlay.Former, f.String())
	}
	for _, sub := range g.Subnets {
		out := api.Subnet{CIDRs: sub.Prefixes, Class: "claimed", Bridge: sub.Bridge, Pods: podsIn(sub, g)}
		if sub.Pinned {
			out.Class, out.Origin = "pinned", sub.Place.String()
		}
		s.Subnets = append(s.Subnets, out)
	}
	probed := map[schema.Name]bool{}
	for _, p := range c.Pods {
		probed[p.Meta.Name] = len(p.Probes) > 0
	}
	for _, p := range g.view.Self.Pods {
		out := podStatus(p, a)
		out.Probed = probed[schema.Name{Namespace: p.Namespace, Name: p.Name}]
		s.Pods = append(s.Pods, out)
	}
}

func podStatus(p view.Pod, a accountState) api.Pod {
	out := api.Pod{Namespace: p.Namespace, Name: p.Name, Addresses: p.Addresses, Ready: p.Ready}
	if out.HostNetwork = len(p.Addresses) == 0; out.HostNetwork {
		out.Addresses, out.Up = a.goal.host.Underlay.Addresses, true
	} else {
		out.Netns = reconciler.NamespaceName(p.Namespace, p.Name)
		out.Up = a.goal.standing[out.Netns]
	}
	switch {
	case p.Ready:
	case !out.Up:
		out.Reason = "has no interface yet"
	default:
		result := a.facts.health[schema.Name{Namespace: p.Namespace, Name: p.Name}]
		out.Reason = cmp.Or(result.Reason, "was not looked at yet")
	}
	return out
}

func podsIn(sub compile.Subnet, g goal) int {
	n := 0
	for _, addresses := range g.addresses {
		if len(addresses) > 0 && slices.ContainsFunc(sub.Prefixes, func(p netip.Prefix) bool { return p.Contains(addresses[0]) }) {
			n++
		}
	}
	return n
}

func fillMembers(s *api.Status, a accountState) {
	if a.facts.revision == nil {
		return
	}
	members := a.facts.members
	s.LedgerDigest = members.LedgerDigest
	for _, c := range members.Claims {
		s.Claims = append(s.Claims, api.Claim{Subnet: c.Prefix, Class: string(c.Stage), Epoch: uint64(c.Epoch)})
	}
	for reason, n := range members.Counters {
		s.Dropped["gossip "+reason] += int(n)
	}
	for _, p := range peersOf(a.facts.revision.Config, s.Node, members) {
		out := api.Peer{
			Name: p.Name, State: string(p.State), Subnets: p.Subnets, Backend: p.Backend.Kind, VTEP: transportOf(compile.Reached(a.facts.revision.Config.Cluster, p)).VTEP, MTU: p.MTU,
			External: external(a.facts.revision.Config, p.Name),
		}
		if len(p.Underlay) > 0 {
			out.Address = p.Underlay[0].String()
		}
		for _, pod := range p.Pods {
			out.Pods++
			if pod.Ready && out.State == "alive" {
				out.PodsReady++
			}
		}
		fillPeer(&out, members.Peer(p.Name))
		if !members.Joined && out.Seen == nil && !out.External {
			out.State = "unknown"
		}
		s.Peers = append(s.Peers, out)
	}
}

// fillPeer adds what only gossip knows of a peer.
func fillPeer(out *api.Peer, m *overlay.Peer) {
	if m == nil {
		return
	}
	out.Revision, out.Digest, out.TCPOnly = m.Revision, m.Digest, m.TCPOnly
	if m.Rejected != nil {
		out.Rejected = &api.PeerRejected{Revision: m.Rejected.Revision, Error: m.Rejected.Error}
	}
	if !m.LastSeen.IsZero() {
		out.Seen = &m.LastSeen
	}
}

func external(c *schema.Config, node string) bool {
	return slices.ContainsFunc(c.Nodes, func(n *schema.Node) bool { return n.Meta.Name.Name == node && n.External })
}

func fillServices(s *api.Status, all []*services.Service) {
	s.Services = len(all)
	for _, svc := range all {
		d := svc.Document
		out := api.Service{Namespace: d.Namespace, Name: d.Meta.Name.Name, Type: string(d.Type), ClusterIPs: d.ClusterIPs,
			ExternalIPs: slices.Concat(d.LoadBalancerIPs, d.ExternalIPs)}
		for _, p := range d.Ports {
			text := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
			if p.NodePort != 0 {
				text = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
			}
			out.Ports = append(out.Ports, text)
		}
		for _, r := range d.PortRanges {
			out.Ports = append(out.Ports, fmt.Sprintf("%d-%d/%s", r.First, r.Last, r.Protocol))
		}
		out.EndpointsReady, out.Endpoints = svc.Counts()
		s.Endpoints += out.Endpoints
		s.EndpointsReady += out.EndpointsReady
		s.ServiceList = append(s.ServiceList, out)
	}
}

// fillTunnel adds the tunnel's counters.
func (d *Daemon) fillTunnel(s *api.Status) {
	if d.loop.Load() == nil {
		return
	}
	for _, rungs := range d.targets.tunnel.Rungs() {
		s.Overlay.Offloads = rungs.String()
		if missing := udp.AllRungs &^ rungs; missing != 0 {
			s.Overlay.OffloadsMissing = missing.String()
		}
	}
	for _, c := range d.targets.tunnel.Counters() {
		for _, p := range c.Peers {
			s.Overlay.Peers = append(s.Overlay.Peers, api.TunnelPeer{
				Node: p.Node, SentPackets: p.SentPackets, SentBytes: p.SentBytes,
				ReceivedPackets: p.ReceivedPackets, ReceivedBytes: p.ReceivedBytes,
			})
		}
		for reason, n := range c.Drops {
			s.Dropped["tunnel "+reason.String()] += int(n)
		}
	}
}

// fillForged adds what nftables has dropped. A table that cannot be read now
// is a problem of the next round.
func (d *Daemon) fillForged(s *api.Status) {
	counts, err := d.forged(context.Background())
	if err != nil {
		return
	}
	for g, n := range counts {
		s.Dropped[g.String()] += int(n)
	}
}

// orphans are processes in namespaces of pods that are gone: they run on,
// without a network.
func (d *Daemon) orphans() []api.Problem {
	if d.loop.Load() == nil {
		return nil
	}
	var out []api.Problem
	for _, o := range d.targets.linux.Orphans() {
		out = append(out, api.Problem{
			What:   fmt.Sprintf("process %d is in the namespace of pod %s, which is gone", o.PID, o.Namespace),
			Remedy: fmt.Sprintf("stop or move it: kill %d", o.PID),
		})
	}
	return out
}

// emptyPools are services that have endpoints, of which none takes
// connections on any node.
func emptyPools(all []*services.Service) []api.Problem {
	var out []api.Problem
	for _, s := range all {
		ready, total := 0, 0
		for _, f := range s.Frontends {
			ready += f.Ready
			total = max(total, f.Total)
		}
		if total > 0 && ready == 0 {
			out = append(out, api.Problem{
				What:   fmt.Sprintf("service %s: none of its endpoints (%d) is ready: connections are refused", s.Document.Meta.Name, total),
				Remedy: "`poplin status pods` on their nodes says why",
			})
		}
	}
	return out
}

// crowded are services with more endpoints than can get connections.
func crowded(all []*services.Service) []api.Problem {
	var out []api.Problem
	for _, s := range all {
		most := 0
		for _, f := range s.Frontends {
			most = max(most, len(f.Endpoints), len(f.Local))
		}
		if most > services.MaxSlots {
			out = append(out, api.Problem{
				What:   fmt.Sprintf("service %s has %d endpoints, of which only %d get connections", s.Document.Meta.Name, most, services.MaxSlots),
				Remedy: "divide them among several services",
			})
		}
	}
	return out
}

// problemsOf collects what stands in the way, most urgent first.
func problemsOf(docs documentsState, a accountState) []api.Problem {
	var out []api.Problem
	add := func(what, remedy string) { out = append(out, api.Problem{What: what, Remedy: remedy}) }
	if docs.rejected != nil {
		add(fmt.Sprintf("revision %s is rejected: %s", docs.rejected.Revision, firstError(docs.rejected.Diagnostics)), "mend it; `poplin validate` shows all that is wrong")
	}
	if docs.held != nil {
		add(fmt.Sprintf("revision %s is held back: %s", docs.held.Revision, docs.held.Reason), "poplin ack "+docs.held.Revision)
	}
	if docs.source.Problem != "" {
		add("source: "+docs.source.Problem, "see what writes the directory; the last good revision is kept")
	}
	if docs.problem != "" {
		add(docs.problem, "free space in the state directory")
	}
	if a.last.Err != nil {
		add("the last round failed: "+firstLines(a.last.Err), "it is tried again; `poplin plan` shows what is missing")
	}
	for _, c := range a.last.Conflicts {
		add("conflict: "+c.What, c.Remedy)
	}
	for _, p := range a.facts.members.Problems {
		add(p.What, p.Remedy)
	}
	for _, p := range a.goal.problems {
		add(p.What, p.Remedy)
	}
	out = append(out, emptyPools(a.goal.Services)...)
	out = append(out, crowded(a.goal.Services)...)
	out = append(out, unannounced(a.goal.Outside.Balancers)...)
	return out
}
