package compile

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
)

// ChainsGroup is the name of the group of all chains, and of the numbers that
// stand for them.
const ChainsGroup = "nftables chains"

// mostSpare is up to how many slots, or ids, chains are made before they are
// needed. Above, a chain more is rare beside all that uses it.
const mostSpare = 64

// chains asks for every chain that services send connections to, once, and
// for those that they are likely to need next: up to the next power of two of
// slots. As a rule of a new chain refers to a map, the kernel looks through
// all of the map's elements (nf_tables_bind_set), which made another endpoint
// of one service among 10,000 x 10 take 19 ms instead of 4 (kernel 6.18).
func (b *builder) chains(uses map[reconciler.Chain]int) *reconciler.Group {
	if len(b.subnets) == 0 {
		return nil
	}
	all := map[reconciler.Chain]bool{}
	for c := range uses {
		all[c] = true
		for _, spare := range spares(c) {
			all[spare] = true
		}
	}
	g := &reconciler.Group{Name: ChainsGroup, Origin: b.origin(b.cluster.Place)}
	for _, f := range b.families {
		g.Objects = append(g.Objects, numbered(f, reconciler.ChainRefuse))
	}
	for _, c := range slices.SortedFunc(maps.Keys(all), compareChains) {
		g.Objects = append(g.Objects, c)
		if _, ok := reconciler.NumberOf(c.Name()); ok {
			g.Objects = append(g.Objects, numbered(c.Family, c.Name()))
		}
	}
	return g
}

// numbered is what leads from a chain's number to the chain.
func numbered(f reconciler.Family, chain string) reconciler.Element {
	slots, _ := reconciler.NumberOf(chain)
	return reconciler.Element{Family: f, Set: reconciler.SetPicks, Slot: slots, Chain: chain}
}

// spares are the chains that a service with this one needs when it gets other
// endpoints.
func spares(c reconciler.Chain) []reconciler.Chain {
	var out []reconciler.Chain
	if c.Method == reconciler.MethodSticky && c.ID <= mostSpare {
		stick := c
		stick.Method, stick.Slots = reconciler.MethodStick, 0
		for stick.ID = range c.ID {
			out = append(out, stick)
		}
	}
	if c.Method == reconciler.MethodHash || c.Slots == 0 || c.Slots > mostSpare {
		return out // the slots of a hash chain stay as many
	}
	for n := range 1 << bits.Len(uint(max(c.Slots, leastSpare)-1)) {
		c.Slots = n + 1
		out = append(out, c)
	}
	return out
}

// leastSpare is what the smallest services are likely to have.
const leastSpare = 4

func compareChains(a, b reconciler.Chain) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), PreferFirst(b.NodePort, a.NodePort), PreferFirst(b.Local, a.Local),
		cmp.Compare(a.Method, b.Method), cmp.Compare(a.Timeout, b.Timeout), cmp.Compare(a.Slots, b.Slots), cmp.Compare(a.ID, b.ID))
}
