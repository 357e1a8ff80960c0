package services

import (
	"hash/fnv"
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func weighted(t *rapid.T, numbers []int) []Endpoint {
	var out []Endpoint
	for _, e := range endpoints(numbers) {
		out = append(out, Endpoint{e, rapid.SampledFrom([]int{1, 1, 2, 3, 50}).Draw(t, "weight")})
	}
	return out
}

// TestOnlyTheClientsOfOneThatLeavesMove, and each has about its share.
func TestOnlyTheClientsOfOneThatLeavesMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfNDistinct(rapid.IntRange(1, 200), 2, 10, rapid.ID[int]).Draw(t, "endpoints")
		var list []Endpoint
		for _, e := range endpoints(numbers) {
			list = append(list, Endpoint{e, 1})
		}
		const n = 1021
		before := HashSlots(list, n)
		share := map[netip.AddrPort]int{}
		for _, e := range before {
			share[e]++
		}
		for _, e := range list {
			if fair := n / len(list); share[e.Target] < fair/2 || share[e.Target] > 2*fair {
				t.Fatalf("%s has %d of %d slots", e, share[e.Target], n)
			}
		}
		gone := rapid.IntRange(0, len(list)-1).Draw(t, "gone")
		for slot, e := range HashSlots(slices.Delete(slices.Clone(list), gone, gone+1), n) {
			if e != before[slot] && before[slot] != list[gone].Target {
				t.Fatalf("slot %d went from %s to %s, but %s left", slot, before[slot], e, list[gone])
			}
		}
	})
}

// TestOnlyTheClientsOfAWeightThatLeavesMove, whatever divisors the others have.
func TestOnlyTheClientsOfAWeightThatLeavesMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := weighted(t, rapid.SliceOfNDistinct(rapid.IntRange(1, 200), 2, 10, rapid.ID[int]).Draw(t, "endpoints"))
		const n = 1021
		before := HashSlots(list, n)
		gone := rapid.IntRange(0, len(list)-1).Draw(t, "gone")
		for slot, e := range HashSlots(slices.Delete(slices.Clone(list), gone, gone+1), n) {
			if e != before[slot] && before[slot] != list[gone].Target {
				t.Fatalf("slot %d went from %s to %s, but %s left", slot, before[slot], e, list[gone])
			}
		}
	})
}

// TestSharesFollowTheWeights: of many slots each endpoint has what its weight
// says, whether it is heavy or light.
func TestSharesFollowTheWeights(t *testing.T) {
	list, sum := odd(20, 1), 0
	for i := range list {
		list[i].Weight = []int{100, 50, 7, 3, 1}[i%5]
		sum += list[i].Weight
	}
	const n = 65521
	share := map[int]int{}
	for _, e := range HashSlots(list, n) {
		share[list[slices.IndexFunc(list, func(o Endpoint) bool { return o.Target == e })].Weight]++
	}
	for weight, got := range share {
		if fair := n * 4 * weight / sum; got < fair*4/5 || got > fair*5/4 {
			t.Errorf("those of weight %d have %d slots; %d are fair", weight, got, fair)
		}
	}
}

// slowSlots are the slots that HashSlots gives, by the formula.
func slowSlots(list []Endpoint, n int) []netip.AddrPort {
	out := make([]netip.AddrPort, n)
	for slot := range out {
		lowest := math.Inf(1)
		for _, e := range list {
			h := fnv.New64a()
			_, _ = h.Write([]byte(e.Target.String()))
			v := mix(mix(h.Sum64()) ^ mix(uint64(slot)+1))
			if c := -math.Log2(float64(v)/(1<<64)) / float64(e.Weight); c < lowest {
				lowest, out[slot] = c, e.Target
			}
		}
	}
	return out
}

func TestHashSlotsAreThoseOfTheFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := weighted(t, rapid.SliceOfNDistinct(rapid.IntRange(1, 200), 1, 20, rapid.ID[int]).Draw(t, "endpoints"))
		if got, want := HashSlots(list, 101), slowSlots(list, 101); !slices.Equal(got, want) {
			t.Fatalf("%v: %v, not %v", list, got, want)
		}
	})
}

// The order in which endpoints are found does not matter, and what the
// slots are is a matter between releases.
func TestHashSlotsAreTheSameEverywhere(t *testing.T) {
	var list []Endpoint
	for i, e := range endpoints([]int{1, 2, 3}) {
		list = append(list, Endpoint{e, i + 1})
	}
	got := HashSlots(list, 1021)
	slices.Reverse(list)
	if !slices.Equal(got, HashSlots(list, 1021)) {
		t.Error("the order counts")
	}
	count := map[byte]int{}
	for _, e := range got {
		count[e.Addr().As4()[3]]++
	}
	alike := slices.Clone(list)
	for i := range alike {
		alike[i].Weight = 7
	}
	for _, c := range []struct {
		list []Endpoint
		want []byte
	}{
		{list, []byte{3, 3, 3, 3, 2, 3, 1, 3, 3, 3, 2, 2, 2, 3, 2, 2}},
		{alike, []byte{3, 3, 3, 3, 1, 3, 1, 3, 3, 3, 2, 2, 1, 3, 2, 2}},
	} {
		var first []byte
		for _, e := range HashSlots(c.list, 1021)[:16] {
			first = append(first, e.Addr().As4()[3])
		}
		if !slices.Equal(first, c.want) {
			t.Errorf("the first slots of %v are %v, not %v", c.list, first, c.want)
		}
	}
	if count[1] < 120 || count[1] > 220 || count[2] < 280 || count[2] > 400 || count[3] < 430 || count[3] > 590 {
		t.Errorf("weights 1, 2, 3 got %v", count)
	}
}

func TestExpandKeepsTheProportions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := weighted(t, rapid.SliceOfNDistinct(rapid.IntRange(1, 200), 1, 6, rapid.ID[int]).Draw(t, "endpoints"))
		count := map[netip.AddrPort]int{}
		all := Expand(list)
		for _, e := range all {
			count[e]++
		}
		sum := 0
		for _, e := range list {
			sum += e.Weight
		}
		for _, e := range list {
			if count[e.Target]*sum != e.Weight*len(all) {
				t.Fatalf("%v became %v", list, count)
			}
		}
		if sum%len(all) != 0 {
			t.Fatalf("%d slots for %v", len(all), list)
		}
	})
}
