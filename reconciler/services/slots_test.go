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
