package services

import (
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
	var first []byte
	for _, e := range got[:16] {
		first = append(first, e.Addr().As4()[3])
	}
	want := []byte{2, 3, 3, 3, 3, 3, 2, 3, 3, 2, 3, 2, 3, 3, 2, 3}
	if !slices.Equal(first, want) {
		t.Errorf("the first slots are %v, not %v", first, want)
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
