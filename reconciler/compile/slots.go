package compile

import (
	"net/netip"

	"github.com/poplin-net/poplin/reconciler"
)

// FrontendKey identifies a list of slots in one table: of an address, or of a
// node port where Address is the zero value.
type FrontendKey struct {
	Family   reconciler.Family
	Address  netip.Addr
	Protocol reconciler.Protocol
	Port     uint16 // 0 for the ranges of ports of an address
	Local    bool   // those for clients from outside: endpoints of this node
}

// Slots is how the endpoints of frontends are numbered.
type Slots struct {
	// Order has the endpoints in the order of their slots.
	Order map[FrontendKey][]netip.AddrPort
	// IDs has the endpoints of frontends with affinity.
	IDs map[FrontendKey]map[netip.AddrPort]int
}

func newSlots() Slots {
	return Slots{Order: map[FrontendKey][]netip.AddrPort{}, IDs: map[FrontendKey]map[netip.AddrPort]int{}}
}

// SlotsOf reads the numbers out of a state.
func SlotsOf(s reconciler.State) Slots {
	out := newSlots()
	for _, o := range s.Objects() {
		e, ok := o.(reconciler.Element)
		if !ok || e.Set != reconciler.SetEndpoints && e.Set != reconciler.SetNodePortEndpoints && e.Set != reconciler.SetRangeEndpoints {
			continue
		}
		key := FrontendKey{e.Family, e.Address, e.Protocol, e.Port, false}
		if e.Slot >= reconciler.FirstID {
			id := e.Slot - reconciler.FirstID
			if e.Slot >= reconciler.FirstLocalID {
				key.Local, id = true, e.Slot-reconciler.FirstLocalID
			}
			if out.IDs[key] == nil {
				out.IDs[key] = map[netip.AddrPort]int{}
			}
			if id < maxID { // else somebody else wrote it
				out.IDs[key][e.Target] = int(id)
			}
			continue
		}
		slot := e.Slot
		if slot >= reconciler.LocalSlots {
			key.Local, slot = true, slot-reconciler.LocalSlots
		}
		list := out.Order[key]
		for int(slot) >= len(list) && slot < reconciler.LocalSlots {
			list = append(list, netip.AddrPort{})
		}
		if slot < reconciler.LocalSlots {
			list[slot] = e.Target
		}
		out.Order[key] = list
	}
	return out
}

// maxID bounds the ids: each is a rule that clients with affinity pass.
const maxID = 10000
