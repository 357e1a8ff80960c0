package services

import (
	"net/netip"
	"slices"
)

// Slots numbers the endpoints of a frontend from 0. Endpoints of before keep
// their slot where they can: a new one takes the slot of one that left, and
// where more left than came, the last ones move into the holes. So one
// endpoint replaced changes one slot. want has no duplicates; the result has
// its endpoints and its length.
func Slots(before, want []netip.AddrPort) []netip.AddrPort {
	if slices.Equal(before, want) {
		return before
	}
	fresh := slices.Clone(want)
	out := make([]netip.AddrPort, len(before))
	for i, e := range before {
		if at := slices.Index(fresh, e); at >= 0 {
			out[i] = e
			fresh = slices.Delete(fresh, at, at+1)
		}
	}
	for i := range out {
		if !out[i].IsValid() && len(fresh) > 0 {
			out[i], fresh = fresh[0], fresh[1:]
		}
	}
	out = append(out, fresh...)
	for i := 0; i < len(out); {
		last := len(out) - 1
		switch {
		case !out[last].IsValid():
			out = out[:last]
		case !out[i].IsValid():
			out[i], out = out[last], out[:last]
		default:
			i++
		}
	}
	return out
}

// Expand lists endpoints as often as their weights say, reduced by their
// greatest common divisor.
func Expand(list []Endpoint) []netip.AddrPort {
	divisor := commonDivisor(list)
	var out []netip.AddrPort
	for _, e := range list {
		for range e.Weight / divisor {
			out = append(out, e.Target)
		}
	}
	return out
}

// commonDivisor is the greatest one of all weights.
func commonDivisor(list []Endpoint) int {
	divisor := 0
	for _, e := range list {
		for a, b := divisor, e.Weight; ; a, b = b, a%b {
			if b == 0 {
				divisor = a
				break
			}
		}
	}
	return max(divisor, 1)
}

// IDs numbers the endpoints of a frontend, each for as long as it is there.
// A new one gets the lowest number that no endpoint has or had just before:
// whoever remembers the old one must have time to forget it.
func IDs(before map[netip.AddrPort]int, want []netip.AddrPort) map[netip.AddrPort]int {
	taken := make(map[int]bool, len(before))
	for _, id := range before {
		taken[id] = true
	}
	out := make(map[netip.AddrPort]int, len(want))
	next := 0
	for _, e := range want {
		id, known := before[e]
		if _, again := out[e]; again {
			continue
		}
		if !known {
			for taken[next] {
				next++
			}
			id = next
			taken[id] = true
		}
		out[e] = id
	}
	return out
}
