package reconciler

import (
	"net/netip"
	"slices"
)

// lookups are the sets that say where a packet to an address goes, in the
// order in which they are asked: the first one that knows its destination
// decides.
var lookups = []SetName{SetServices, SetSpecialServices, SetPortRanges}

// destination is what the sets of lookups have in common in their keys.
type destination struct {
	family   Family
	address  netip.Addr
	protocol Protocol
}

func (e Element) destination() destination { return destination{e.Family, e.Address, e.Protocol} }

// shadows reports whether an element takes packets that would go where another
// one, of the same destination, says.
func (e Element) shadows(o Element) bool {
	own, other := slices.Index(lookups, e.Set), slices.Index(lookups, o.Set)
	return own >= 0 && own <= other && e.Port <= max(o.Port, o.LastPort) && o.Port <= max(e.Port, e.LastPort)
}

// frontends gives, for each destination, the elements of lookups that a plan
// deletes.
func (p Plan) frontends() map[destination][]Element {
	out := map[destination][]Element{}
	for _, op := range p {
		if e, ok := op.Before.(Element); ok && op.Verb == Delete && slices.Contains(lookups, e.Set) {
			out[e.destination()] = append(out[e.destination()], e)
		}
	}
	return out
}
