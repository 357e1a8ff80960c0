package overlay

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// peerNames gives the names of the other nodes that are not gone.
func (c *core) peerNames() map[string]bool {
	names := map[string]bool{}
	for _, n := range c.settings.Roster {
		names[n.Name] = true
	}
	if len(names) == 0 {
		for r := range c.records.all() {
			m := c.members[r.Node]
			if m != nil && m.up || c.ledger.tombs[r.Node] < r.latest() {
				names[r.Node] = true
			}
		}
		for name, m := range c.members {
			if m.up {
				names[name] = true
			}
		}
	}
	delete(names, c.node)
	return names
}

// current gives the record that stands for a name: of the installation that
// is alive, else of the latest.
func (c *core) current(name string) (Record, bool) {
	m := c.members[name]
	var best Record
	found := false
	for _, r := range c.records.byNode[name] {
		if m != nil && m.up && m.meta.id == r.ID {
			return r, true
		}
		if !found || r.Birth > best.Birth {
			best, found = r, true
		}
	}
	return best, found
}

// liveness judges a peer, and says whether it is stopping.
func (c *core) liveness(name string, now time.Time) (state PeerState, stopping bool) {
	if n := c.byName[name]; n != nil && n.External {
		return PeerAlive, false
	}
	r, known := c.current(name)
	m := c.members[name]
	switch {
	case m != nil && m.up:
		return PeerAlive, r.Stopping != 0
	case m != nil && known && r.Stopping != 0 && !m.silent && now.Sub(m.since) < c.timing.StopGrace:
		return PeerAlive, true
	case m == nil && known && !c.wasFailed[name] && (!c.joined() || c.early(now)):
		// Nothing is known yet: as it was when this daemon stopped.
		return PeerAlive, false
	}
	return PeerFailed, false
}

// early reports whether a peer may have started together with this node, and
// not have been dialled again since: the one that gossip was joined through
// need not know it either.
func (c *core) early(now time.Time) bool { return now.Sub(c.started) < 2*c.timing.Rejoin }

func (c *core) peer(name string, now time.Time) Peer {
	p := Peer{Name: name}
	p.State, p.Stopping = c.liveness(name, now)
	if n := c.byName[name]; n != nil {
		p.Underlay, p.External = n.Addresses, n.External
	}
	if r, ok := c.current(name); ok {
		p.ID, p.Backend, p.Port, p.MTU, p.Health = r.ID, r.Backend, r.Port, r.MTU, r.Health
		p.VNI, p.VTEP, p.Direct, p.PublicKey = r.VNI, r.VTEP, r.Direct, r.PublicKey
		p.Revision, p.Digest, p.Rejected, p.Pods = r.Revision, r.Digest, r.Rejected, r.Pods
		p.KeyDigests, p.LedgerDigest = r.Keys, r.Ledger
		if len(r.Underlay) > 0 {
			p.Underlay = r.Underlay
		}
	}
	if m := c.members[name]; m != nil {
		p.LastSeen = m.heard
		p.TCPOnly = c.deaf[name]
		if p.TCPOnly {
			p.LastSeen = now // memberlist probes it over TCP, and does not say when
		}
	}
	return p
}

// snapshot gathers what is known.
func (c *core) snapshot() Snapshot {
	now := c.now()
	s := Snapshot{
		Joined: c.joined(), Waiting: c.waiting(now), NodeID: c.identity.ID,
		Claims: slices.Clone(c.claimer.claims), LedgerDigest: c.digest, KeyDigests: c.network.keys, Accused: c.accused,
	}
	for name := range c.peerNames() {
		s.Peers = append(s.Peers, c.peer(name, now))
	}
	slices.SortFunc(s.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	for _, o := range c.ledger.owners(c.settings.pinned(), byEpoch) {
		if c.inRoster(o.Node) {
			s.Owners = append(s.Owners, o)
		}
	}
	s.Problems = c.problems(s, now)
	return s
}

// waiting says what this node waits for.
func (c *core) waiting(now time.Time) string {
	if why := c.blocked(now); why != "" && (len(c.claimer.missing(c.settings)) > 0 || !c.configured || c.network.waiting != "") {
		return why
	}
	switch {
	case c.claimer.has(Proposed):
		var slow []string
		for _, name := range c.aliveNames() {
			if c.answered[name] < c.proposal {
				slow = append(slow, name)
			}
		}
		if len(c.aliveNames()) == 0 && !c.mayStartAlone() {
			return "a peer that answers to its claim"
		}
		if len(slow) > 0 {
			return "an answer to its claim from " + strings.Join(slow[:min(len(slow), 5)], ", ")
		}
		return "its claim to stand"
	case len(c.claimer.missing(c.settings)) > 0 && c.opened:
		return "a free subnet"
	case len(c.claimer.missing(c.settings)) > 0:
		return "a quiet moment to claim a subnet"
	case !c.joined():
		return "a peer: nobody has answered yet"
	}
	return ""
}

// problems lists what stands in the way.
func (c *core) problems(s Snapshot, now time.Time) []Problem {
	var out []Problem
	add := func(what, remedy string) { out = append(out, Problem{what, remedy}) }
	if c.network.problem != nil {
		out = append(out, *c.network.problem)
	}
	if c.diskError != nil {
		add("the state directory cannot be written: "+c.diskError.Error(), "df "+c.opts.StateDir)
	}
	if where := c.cloned(now); where != "" {
		add("this node's ID is in use by "+where+": one of the two is a copy", "on the copy: systemctl stop poplin; rm "+c.path(fileIdentity)+" "+c.path(fileClaims))
	}
	for _, own := range s.Claims {
		if own.Stage == Lost {
			add(fmt.Sprintf("subnet %s is no longer this node's, but pods here use it", own.Prefix), "move the pods with addresses in it to another node, or make them anew")
		} else if len(c.settings.Free) == 0 && !c.inRange(own.Prefix) && c.configured {
			add(fmt.Sprintf("subnet %s is outside the pod ranges", own.Prefix), "poplin release "+own.Prefix.String())
		}
	}
	for name, e := range c.conflicts {
		if c.disputed(name, now) {
			add(fmt.Sprintf("two nodes call themselves %s: %s and %s", name, e.addr.Addr(), e.other.Addr()), "give one of them another --node")
		}
	}
	if c.configured && !c.exchanged && len(c.settings.Roster) == 0 && len(c.opts.Join) == 0 && !c.mayStartAlone() {
		add("this node knows nobody to ask which subnets are taken", "give it --join ADDRESS of another node, or write Node documents; --bootstrap on the very first node")
	}
	out = append(out, c.peerProblems(s)...)
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.What, b.What) })
	return out
}

func (c *core) peerProblems(s Snapshot) []Problem {
	var out []Problem
	at := map[netip.Addr]string{}
	for _, a := range c.announcement.Underlay {
		at[a] = c.node
	}
	for _, p := range s.Peers {
		if p.TCPOnly {
			out = append(out, Problem{fmt.Sprintf("%s answers over TCP only", p.Name), fmt.Sprintf("let UDP to port %d through between the nodes", c.network.gossip.Port())})
		}
		for _, a := range p.Underlay {
			if other, taken := at[a]; taken {
				out = append(out, Problem{fmt.Sprintf("%s and %s both have the underlay address %s", other, p.Name, a), "set --underlay or the Node document's addresses"})
			}
			at[a] = p.Name
		}
	}
	if len(c.settings.Roster) > 0 {
		strangers := map[string]bool{}
		for _, o := range c.ledger.standing() {
			if !c.inRoster(o.node) && !c.departed[o.node] && !strangers[o.node] {
				strangers[o.node] = true
				out = append(out, Problem{fmt.Sprintf("%s claims %s but is not in the roster", o.node, o.Prefix), "poplin release " + o.node})
			}
		}
	}
	return out
}

func (c *core) inRange(p netip.Prefix) bool {
	return slices.ContainsFunc(c.settings.PodCIDRs, func(cidr netip.Prefix) bool { return cidr.Bits() <= p.Bits() && cidr.Contains(p.Addr()) })
}

// sameSnapshot compares what is worth a round of the caller.
func sameSnapshot(a, b Snapshot) bool {
	if len(a.Peers) != len(b.Peers) {
		return false
	}
	strip := func(s Snapshot) Snapshot {
		s.Counters = nil
		s.Peers = slices.Clone(s.Peers)
		for i := range s.Peers {
			s.Peers[i].LastSeen = time.Time{}
		}
		return s
	}
	return reflect.DeepEqual(strip(a), strip(b))
}
