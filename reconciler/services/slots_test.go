package services

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func endpoints(numbers []int) []netip.AddrPort {
	out := make([]netip.AddrPort, len(numbers))
	for i, n := range numbers {
		out[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 0, byte(n)}), 80)
	}
	return out
}

func TestSlotsKeepWhatStays(t *testing.T) {
	set := rapid.SliceOfNDistinct(rapid.IntRange(1, 12), 0, 8, rapid.ID[int])
	rapid.Check(t, func(t *rapid.T) {
		before, want := endpoints(set.Draw(t, "before")), endpoints(set.Draw(t, "want"))
		got := Slots(before, want)
		sorted := func(s []netip.AddrPort) []netip.AddrPort {
			s = slices.Clone(s)
			slices.SortFunc(s, netip.AddrPort.Compare)
			return s
		}
		if !slices.Equal(sorted(got), sorted(want)) {
			t.Fatalf("Slots(%v, %v) = %v", before, want, got)
		}
		left := 0
		for _, e := range before {
			if !slices.Contains(want, e) {
				left++
			}
		}
		changed := 0
		for i := range min(len(before), len(got)) {
			if before[i] != got[i] {
				changed++
			}
		}
		if changed > left {
			t.Fatalf("Slots(%v, %v) = %v: %d slots changed although %d endpoints left", before, want, got, changed, left)
		}
	})
}

// searched are the slots that Slots gives, found one by one.
func searched(before, want []netip.AddrPort) []netip.AddrPort {
	fresh := slices.Clone(want)
	out := make([]netip.AddrPort, len(before))
	for i, e := range before {
		if at := slices.Index(fresh, e); at >= 0 {
			out[i], fresh = e, slices.Delete(fresh, at, at+1)
		}
	}
	for i := range out {
		if !out[i].IsValid() && len(fresh) > 0 {
			out[i], fresh = fresh[0], fresh[1:]
		}
	}
	out = append(out, fresh...)
	for hole := slices.Index(out, netip.AddrPort{}); hole >= 0; hole = slices.Index(out, netip.AddrPort{}) {
		last := len(out) - 1
		out[hole] = out[last]
		out = out[:last]
	}
	return out
}

func TestSlotsAreThoseOfASearch(t *testing.T) {
	numbers := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 12)
	rapid.Check(t, func(t *rapid.T) {
		before, want := endpoints(numbers.Draw(t, "before")), endpoints(numbers.Draw(t, "want"))
		for i := range before {
			if rapid.IntRange(0, 4).Draw(t, "there") == 0 {
				before[i] = netip.AddrPort{} // somebody else deleted it
			}
		}
		if got, right := Slots(before, want), searched(before, want); !slices.Equal(got, right) {
			t.Fatalf("Slots(%v, %v) = %v, not %v", before, want, got, right)
		}
	})
}

func TestIDsAreKeptAndNotUsedAgainAtOnce(t *testing.T) {
	set := rapid.SliceOfNDistinct(rapid.IntRange(1, 12), 0, 8, rapid.ID[int])
	rapid.Check(t, func(t *rapid.T) {
		ids := map[netip.AddrPort]int{}
		for range 5 {
			before := ids
			want := endpoints(set.Draw(t, "want"))
			ids = IDs(before, want)
			had, seen := map[int]netip.AddrPort{}, map[int]bool{}
			for e, id := range before {
				had[id] = e
			}
			for _, e := range want {
				id, ok := ids[e]
				if old, was := had[id]; !ok || seen[id] || was && old != e || id >= 16 {
					t.Fatalf("IDs(%v, %v) = %v", before, want, ids)
				}
				if old, was := before[e]; was && old != id {
					t.Fatalf("IDs(%v, %v) = %v: %s had another", before, want, ids, e)
				}
				seen[id] = true
			}
			if len(ids) != len(want) {
				t.Fatalf("IDs(%v, %v) = %v", before, want, ids)
			}
		}
	})
}

// Every endpoint has its share of the slots, as far as there are slots.
func TestSlotsHaveALimit(t *testing.T) {
	for _, c := range []struct {
		list         []Endpoint
		heavy, light int // slots of the first endpoint, and of the last
	}{
		{odd(655, 99), 100, 99},
		{odd(700, 1), 50, 1},
		{odd(700, 97), 50, 49},
		{odd(7000, 37), 5, 2}, // 10 and 4
		{odd(MaxSlots, 1), 1, 1},
		{odd(MaxSlots+5, 1), 1, 0},
	} {
		count, all := map[netip.AddrPort]int{}, Expand(c.list)
		for _, e := range all {
			count[e]++
		}
		heavy, light := count[c.list[0].Target], count[c.list[len(c.list)-1].Target]
		if len(all) > MaxSlots || heavy != c.heavy || light != c.light {
			t.Errorf("%d endpoints, the last one of weight %d: %d slots, of which the first has %d and the last %d",
				len(c.list), c.list[len(c.list)-1].Weight, len(all), heavy, light)
		}
	}
}
