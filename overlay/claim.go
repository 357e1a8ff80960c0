package overlay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"
)

// Stage is how far a claim of this node has come.
type Stage string

// The stages. Pods get addresses of confirmed claims only.
const (
	Proposed  Stage = "proposed"  // announced, may still be contested
	Confirmed Stage = "confirmed" // stood uncontested through an exchange with every alive peer
	Lost      Stage = "lost"      // somebody else's now, but pods here still use it
)

// ClaimStatus is one claim of this node.
type ClaimStatus struct {
	Prefix netip.Prefix `json:"prefix"`
	Epoch  Stamp        `json:"epoch"`
	Stage  Stage        `json:"stage"`
}

// claimer decides about this node's own claims. It does no I/O: after a step
// that changed something the caller writes it to disk, then announces it.
type claimer struct {
	node, id string
	birth    Stamp
	claims   []ClaimStatus // sorted by subnet
	replaces []string
	// proposed is when the oldest claim in stage proposed was announced, or
	// last contested.
	proposed time.Time
}

// facts is what a step of the claimer looks at.
type facts struct {
	now      time.Time
	settings Settings
	ledger   *ledger
	order    order
	// open says that new claims may be made: see core.open.
	open bool
	// alone says that there is nobody to ask: a proposal is confirmed without
	// any answer.
	alone bool
	// alive are the names of the peers that are alive now; answered reports
	// whether one of them has answered this node's latest proposal.
	alive    []string
	answered func(name string) bool
	// inUse reports whether pods of this node have addresses of the subnet.
	inUse func(netip.Prefix) bool
	// confirmAfter is how long a claim stands uncontested at least.
	confirmAfter time.Duration
}

// step looks at everything again and reports whether claims, replaces or
// birth changed.
func (c *claimer) step(f facts, clk *clock) bool {
	changed := c.lose(f)
	changed = c.drop(f) || changed
	if f.open {
		changed = c.takeOver(f, clk) || changed
		changed = c.propose(f, clk) || changed
	}
	return c.confirm(f) || changed
}

// lose finds the claims that the ledger gives to somebody else, or to nobody
// (released, expired, void). Without pods they go; with pods they are kept
// as lost.
func (c *claimer) lose(f facts) bool {
	if !slices.ContainsFunc(c.claims, func(o ClaimStatus) bool { return o.Stage != Lost }) {
		return false
	}
	won := f.ledger.winners(f.settings.pinned(), f.order)
	standing := f.ledger.standing()
	changed := false
	for i, own := range c.claims {
		if own.Stage == Lost {
			continue
		}
		mine := func(w claimed) bool { return w.Prefix == own.Prefix && w.node == c.node }
		if slices.ContainsFunc(won, mine) && !c.yields(own, standing) {
			continue
		}
		changed = true
		c.claims[i].Stage = Lost
	}
	return changed
}

// yields reports whether a claim that is merely proposed meets a confirmed
// one. It would win if it is older (clocks differ), but it has no pods yet
// and the other may have: to step back costs nothing.
func (c *claimer) yields(own ClaimStatus, standing []claimed) bool {
	return own.Stage == Proposed && slices.ContainsFunc(standing, func(o claimed) bool {
		return o.node != c.node && o.Confirmed && o.Prefix.Overlaps(own.Prefix)
	})
}

// drop forgets lost claims whose pods are gone, and claims that are no
// longer needed because the documents pin subnets to this node now.
func (c *claimer) drop(f facts) bool {
	before := len(c.claims)
	c.claims = slices.DeleteFunc(c.claims, func(own ClaimStatus) bool {
		return (own.Stage == Lost || !f.settings.NeedsClaim) && !f.inUse(own.Prefix)
	})
	return len(c.claims) != before
}

// takeOver repeats the claims of former installations of this name, with
// their epochs. The caller has made sure that none of them is alive.
func (c *claimer) takeOver(f facts, clk *clock) bool {
	if len(c.claims) > 0 {
		return false
	}
	var former []Entry
	for _, key := range f.ledger.arrived {
		e := f.ledger.entries[key]
		if e.Node != c.node || e.ID == c.id || slices.Contains(c.replaces, shortID(e.ID)) || len(e.Claims) == 0 || f.ledger.superseded(e) {
			continue
		}
		former = append(former, e)
	}
	for _, e := range former {
		if c.birth <= e.Birth {
			c.birth = clk.next(f.now)
		}
		for _, id := range append(slices.Clone(e.Replaces), shortID(e.ID)) {
			if !slices.Contains(c.replaces, id) {
				c.replaces = append(c.replaces, id)
			}
		}
		for _, claim := range e.Claims {
			if f.settings.NeedsClaim && !f.ledger.buried(e.Node, claim) && !c.overlaps(claim.Prefix) {
				c.claims = append(c.claims, ClaimStatus{claim.Prefix, claim.Epoch, Proposed})
			}
		}
	}
	c.replaces = c.replaces[max(0, len(c.replaces)-maxReplaces):]
	c.sort()
	c.proposed = f.now
	return len(former) > 0
}

func (c *claimer) overlaps(p netip.Prefix) bool {
	return slices.ContainsFunc(c.claims, func(o ClaimStatus) bool { return o.Prefix.Overlaps(p) })
}

// propose claims a subnet of each family that this node has none of. While a
// lost subnet still has pods it takes no other: nothing is renumbered by
// itself.
func (c *claimer) propose(f facts, clk *clock) bool {
	families := c.missing(f.settings)
	if len(families) == 0 {
		return false
	}
	chosen := choose(c.id, f.settings, families, c.taken(f))
	if len(chosen) == 0 {
		return false
	}
	epoch := clk.next(f.now)
	for _, p := range chosen {
		c.claims = append(c.claims, ClaimStatus{p, epoch, Proposed})
	}
	c.sort()
	c.proposed = f.now
	return true
}

// missing lists the families of the pod ranges without a claim of this node.
func (c *claimer) missing(s Settings) []int {
	var out []int
	if !s.NeedsClaim {
		return nil
	}
	for _, cidr := range s.PodCIDRs {
		family := familyOf(cidr)
		has := slices.ContainsFunc(c.claims, func(o ClaimStatus) bool { return familyOf(o.Prefix) == family })
		if !has && !slices.Contains(out, family) {
			out = append(out, family)
		}
	}
	return out
}

func (c *claimer) taken(f facts) *bart.Lite {
	var taken bart.Lite
	for _, p := range f.settings.Pinned {
		taken.Insert(p.Prefix)
	}
	for _, o := range f.ledger.standing() {
		taken.Insert(o.Prefix)
	}
	return &taken
}

// confirm moves the proposed claims on once they stood uncontested for long
// enough and every alive peer, at least one, has answered since.
func (c *claimer) confirm(f facts) bool {
	if !c.has(Proposed) {
		return false
	}
	if c.contested(f) {
		c.proposed = f.now
		return false
	}
	if f.now.Sub(c.proposed) < f.confirmAfter || len(f.alive) == 0 && !f.alone {
		return false
	}
	if slices.ContainsFunc(f.alive, func(name string) bool { return !f.answered(name) }) {
		return false
	}
	for i := range c.claims {
		if c.claims[i].Stage == Proposed {
			c.claims[i].Stage = Confirmed
		}
	}
	return true
}

// contested reports whether an alive node claims the same as a proposed
// claim. The loser of the two withdraws as soon as it hears of the other.
func (c *claimer) contested(f facts) bool {
	for _, o := range f.ledger.standing() {
		if o.node == c.node || !slices.Contains(f.alive, o.node) {
			continue
		}
		for _, own := range c.claims {
			if own.Stage == Proposed && own.Prefix.Overlaps(o.Prefix) {
				return true
			}
		}
	}
	return false
}

func (c *claimer) has(stage Stage) bool {
	return slices.ContainsFunc(c.claims, func(o ClaimStatus) bool { return o.Stage == stage })
}

// announced lists the claims that belong in this node's record.
func (c *claimer) announced() []Claim {
	var out []Claim
	for _, o := range c.claims {
		if o.Stage != Lost {
			out = append(out, Claim{o.Prefix, o.Epoch, o.Stage == Confirmed})
		}
	}
	return out
}

func (c *claimer) sort() {
	slices.SortFunc(c.claims, func(a, b ClaimStatus) int { return comparePrefixes(a.Prefix, b.Prefix) })
}
