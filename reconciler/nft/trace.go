package nft

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
)

// Packet is the first packet of a connection; the tables see no other.
type Packet struct {
	Protocol reconciler.Protocol
	Source   netip.Addr
	// Destination has port 0 for an ICMP echo request.
	Destination netip.AddrPort
	// Sent says that this host sends it; else it arrives, from a pod or from
	// outside.
	Sent bool
	// Link is the one by which it arrives; "": the one by which packets go to
	// its source.
	Link string
}

// Hop is where this host's routing sends packets to an address.
type Hop struct {
	Local   bool       // they are for this host
	Refused string     // why they go nowhere: "unreachable", "blackhole", …
	Link    string     // else they leave by this link,
	Gateway netip.Addr // by this router; zero: the destination is on the link,
	Address netip.Addr // and with this address if they are masqueraded
}

// Outcome is how a packet's way through this host ends.
type Outcome string

// The outcomes.
const (
	Forwarded Outcome = "forwarded" // to what Way.Hop says
	Delivered Outcome = "delivered" // to this host
	Refused   Outcome = "refused"   // with a TCP reset, or ICMP port unreachable
	Dropped   Outcome = "dropped"   // without a word
	Unrouted  Outcome = "unrouted"  // the routing has no way for it
)

// Trace is what can become of a packet.
type Trace struct {
	// Ways end differently, the likeliest first. Their shares sum up to 1.
	Ways []Way
}

// Way is one way that a packet can take.
type Way struct {
	Share   float64
	Outcome Outcome
	// Source and Destination are the packet's at the end.
	Source      netip.Addr
	Destination netip.AddrPort
	Translated  bool // Destination is another than it was
	Masqueraded bool // so is Source
	Hop         Hop  // to Destination; of the last routing decision
	// Steps are the rules that matched. Where several ways end alike they are
	// those of one of them.
	Steps []Step
}

// Step is a rule that matched.
type Step struct {
	Hook  string // prerouting, input, forward, output, postrouting
	Chain string
	Rule  string // as nft lists it
	// Found are the elements that the rule found.
	Found []Found
	// Verdict is what the rule did: "goto pick-3", "dnat to 10.244.1.2:80",
	// "drop", …; "" if the chain went on.
	Verdict string
	// Decides says that the verdict settles an address, or that the packet
	// goes no further.
	Decides bool
	rule    rule
}

// Found is an element that a lookup found, and the group that asks for it.
type Found struct {
	Element reconciler.Element
	Group   *reconciler.Group
}

// Last gives the last step that decides, and false if none does.
func (w Way) Last() (Step, bool) {
	for _, s := range slices.Backward(w.Steps) {
		if s.Decides {
			return s, true
		}
	}
	return Step{}, false
}

// end is how a way ends.
type end struct {
	outcome                 Outcome
	source                  netip.Addr
	destination             netip.AddrPort
	translated, masqueraded bool
	hop                     Hop
}

func (w Way) end() end {
	return end{w.Outcome, w.Source, w.Destination, w.Translated, w.Masqueraded, w.Hop}
}

// Trace follows a packet through the rules. It is pure if route is: a
// function that says where the host's routing sends packets to an address.
//
// An error means that a rule has something which the tracer does not know.
func (r *Ruleset) Trace(p Packet, route func(netip.Addr) Hop) (Trace, error) {
	if f := reconciler.FamilyOf(p.Destination.Addr()); f != r.family || f != reconciler.FamilyOf(p.Source) {
		return Trace{}, fmt.Errorf("from %s to %s: no packet of family %s", p.Source, p.Destination.Addr(), r.family)
	}
	var out Trace
	known := map[end]int{}
	for draw := (&draws{}); draw != nil; draw = draw.next() {
		e := &evaluation{rules: r, route: route, random: draw.one, packet: p, original: p}
		way, err := e.run()
		if err != nil {
			return Trace{}, err
		}
		way.Share = draw.share()
		if i, ok := known[way.end()]; ok {
			out.Ways[i].Share += way.Share
			continue
		}
		known[way.end()] = len(out.Ways)
		for i := range way.Steps {
			way.Steps[i].Rule = r.text(way.Steps[i].rule)
		}
		out.Ways = append(out.Ways, way)
	}
	// What two servers share alike should not be told apart by rounding.
	slices.SortStableFunc(out.Ways, func(a, b Way) int {
		if d := b.Share - a.Share; d > 1e-9 || d < -1e-9 {
			return cmp.Compare(b.Share, a.Share)
		}
		return a.Destination.Compare(b.Destination)
	})
	return out, nil
}

// draws are the random numbers of one run. next gives those of the next one,
// until all have been there.
type draws struct {
	made []drawn
	at   int // the next one in this run
}

type drawn struct{ number, of uint32 }

// one draws a number below of.
func (d *draws) one(of uint32) uint32 {
	if d.at == len(d.made) {
		d.made = append(d.made, drawn{of: of})
	}
	d.at++
	return d.made[d.at-1].number
}

// share is how likely the numbers that were drawn are.
func (d *draws) share() float64 {
	share := 1.0
	for _, n := range d.made {
		share /= float64(n.of)
	}
	return share
}

func (d *draws) next() *draws {
	made := slices.Clone(d.made)
	for len(made) > 0 {
		last := &made[len(made)-1]
		if last.number++; last.number < last.of {
			return &draws{made: made}
		}
		made = made[:len(made)-1]
	}
	return nil
}
