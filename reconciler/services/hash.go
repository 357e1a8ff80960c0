package services

import (
	"cmp"
	"hash/fnv"
	"math/bits"
	"net/netip"
	"slices"
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
// share from all. One with a higher weight draws better numbers: its cost is
// divided by its weight (Schindelhauer and Schomaker, "Weighted Distributed
// Hash Tables", the logarithmic method), and the lowest cost wins.
//
// It follows from the endpoints alone: every node, whatever its release and
// processor, comes to the same slots.
func HashSlots(list []Endpoint, n int) []netip.AddrPort {
	if len(list) == 0 {
		return nil
	}
	type ticket struct {
		seed   uint64
		weight uint64
		target netip.AddrPort
	}
	tickets := make([]ticket, len(list))
	for i, e := range list {
		h := fnv.New64a()
		_, _ = h.Write([]byte(e.Target.String())) // never fails
		tickets[i] = ticket{mix(h.Sum64()), uint64(e.Weight), e.Target}
	}
	slices.SortStableFunc(tickets, func(a, b ticket) int { return cmp.Compare(b.weight, a.weight) })
	out := make([]netip.AddrPort, n)
	for slot := range out {
		salt := mix(uint64(slot) + 1)
		best, drawn, highest := tickets[0], uint64(0), uint64(0)
		for _, t := range tickets {
			v := mix(t.seed ^ salt)
			if v <= highest {
				continue // it weighs no more than the one that drew more
			}
			highest = v
			if t.weight == best.weight || cost(v)*best.weight < cost(drawn)*t.weight {
				best, drawn = t, v
			}
		}
		out[slot] = best.target
	}
	return out
}

// costBits are the bits of a cost behind the point: a cost times a weight of
// up to 8,000 fits 64 bits.
const costBits = 44

// cost is the negative binary logarithm of v/2^64. It is made of whole
// numbers, because processors differ in how they round others.
func cost(v uint64) uint64 {
	zeros := bits.LeadingZeros64(v)
	x := v << zeros // from 1 to 2, in units of 2^-63
	logarithm := uint64(0)
	for range costBits {
		logarithm <<= 1
		if x, _ = bits.Mul64(x, x); x >= 1<<63 {
			logarithm |= 1
		} else {
			x <<= 1
		}
	}
	return uint64(zeros+1)<<costBits - logarithm
}

// mix spreads the bits of a number: the finaliser of SplitMix64 (Steele, Lea
// and Flood, "Fast Splittable Pseudorandom Number Generators").
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
