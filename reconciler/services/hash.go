package services

import (
	"hash/fnv"
	"net/netip"
)

// hashSlots is the number of slots that so many endpoints are spread over:
// at least a hundred for each, and a prime. It changes seldom, because all
// clients move when it does.
func hashSlots(endpoints int) int {
	for _, n := range []int{1021, 4093, 16381} {
		if endpoints*100 <= n {
			return n
		}
	}
	return 65521 // the last one below reconciler.LocalSlots
}

// HashSlots gives each of n slots to an endpoint, by rendezvous: all
// endpoints draw a number for the slot, and the highest has it. So when one
// leaves, only its own slots go to others, and when one comes, it takes its
// share from all. One with a higher weight draws more often.
//
// It follows from the endpoints alone: every node, whatever its release,
// comes to the same slots.
func HashSlots(list []Endpoint, n int) []netip.AddrPort {
	if len(list) == 0 {
		return nil
	}
	divisor := commonDivisor(list)
	type ticket struct {
		seed  uint64
		owner int
	}
	var tickets []ticket
	for i, e := range list {
		h := fnv.New64a()
		_, _ = h.Write([]byte(e.Target.String())) // never fails
		for draw := range e.Weight / divisor {
			tickets = append(tickets, ticket{mix(h.Sum64() + uint64(draw)), i})
		}
	}
	out := make([]netip.AddrPort, n)
	for slot := range out {
		salt := mix(uint64(slot) + 1)
		best, highest := 0, uint64(0)
		for _, t := range tickets {
			if v := mix(t.seed ^ salt); v > highest {
				best, highest = t.owner, v
			}
		}
		out[slot] = list[best].Target
	}
	return out
}

// mix spreads the bits of a number: the finaliser of SplitMix64 (Steele, Lea
// and Flood, "Fast Splittable Pseudorandom Number Generators").
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
