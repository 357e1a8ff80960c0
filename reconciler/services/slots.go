package services

import (
	"net/netip"
	"slices"
)

// MaxSlots is how many slots a list of endpoints has at most: in the kernel,
// slots of this node's endpoints follow those of all (reconciler.LocalSlots).
const MaxSlots = 1<<16 - 1

// Slots numbers the endpoints of a frontend from 0. Endpoints of before keep
// their slot where they can: a new one takes the slot of one that left, and
// where more left than came, the last ones move into the holes. So one
// endpoint replaced changes one slot. The result has the endpoints of want,
// each as often, and its length.
func Slots(before, want []netip.AddrPort) []netip.AddrPort {
	if slices.Equal(before, want) {
		return before
	}
	missing := make(map[netip.AddrPort]int, len(want)) // how often
	for _, e := range want {
		missing[e]++
	}
	stays := make(map[netip.AddrPort]int, len(missing))
	out := make([]netip.AddrPort, len(before))
	for i, e := range before {
		if missing[e] > 0 {
			out[i] = e
			missing[e]--
			stays[e]++
		}
	}
	var fresh []netip.AddrPort
	for _, e := range want {
		if stays[e] > 0 {
			stays[e]--
			continue
		}
		fresh = append(fresh, e)
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
// greatest common divisor. Where that would be more than MaxSlots, the weights
// are divided by the least number that makes them fit, and rounded to whole
// slots: the lightest endpoints keep one. Endpoints beyond MaxSlots have none.
func Expand(list []Endpoint) []netip.AddrPort {
	list = list[:min(len(list), MaxSlots)]
	by := 1
	for slotsOf(list, by) > MaxSlots {
		by++
	}
	divisor := commonDivisor(list, by)
	var out []netip.AddrPort
	for _, e := range list {
		for range e.divided(by) / divisor {
			out = append(out, e.Target)
		}
	}
	return out
}

// slotsOf counts the slots of endpoints whose weights are divided by a number.
func slotsOf(list []Endpoint, by int) int {
	sum := 0
	for _, e := range list {
		sum += e.divided(by)
	}
	return sum / commonDivisor(list, by)
}

// divided is the endpoint's weight divided by a number, and at least 1.
func (e Endpoint) divided(by int) int { return max(1, (e.Weight+by/2)/by) }

// commonDivisor is the greatest one of all weights divided by a number.
func commonDivisor(list []Endpoint, by int) int {
	divisor := 0
	for _, e := range list {
		for a, b := divisor, e.divided(by); ; a, b = b, a%b {
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
