package overlay

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// maxRanked is up to how many subnets of a range are all ranked; in a larger
// range a node tries a sequence of its own, as many times at most.
const maxRanked = 4096

// choose picks free subnets for a node, one for each of the families. The
// rank of a subnet is a hash of it and the node's ID (rendezvous hashing), so
// nodes that start together rarely choose the same. It returns nil if there
// is nothing free.
func choose(id string, s Settings, families []int, taken *bart.Lite) []netip.Prefix {
	if len(s.Free) > 0 {
		return chooseGroup(id, s.Free, families, taken)
	}
	var out []netip.Prefix
	for _, family := range families {
		p, ok := chooseSubnet(id, s, family, taken)
		if !ok {
			return nil
		}
		out = append(out, p)
	}
	return out
}

// chooseGroup picks the best free Subnet document of just these families.
func chooseGroup(id string, groups [][]netip.Prefix, families []int, taken *bart.Lite) []netip.Prefix {
	var best []netip.Prefix
	var bestRank uint64
	for _, group := range groups {
		if len(group) == 0 || slices.ContainsFunc(group, taken.OverlapsPrefix) {
			continue
		}
		if slices.ContainsFunc(group, func(p netip.Prefix) bool { return !slices.Contains(families, familyOf(p)) }) {
			continue
		}
		// A pair is better than a single one where both families are wanted.
		rank := hashOf(id, group[0])>>8 | uint64(len(group))<<56
		if best == nil || rank > bestRank {
			best, bestRank = group, rank
		}
	}
	return slices.Clone(best)
}

func chooseSubnet(id string, s Settings, family int, taken *bart.Lite) (netip.Prefix, bool) {
	length := s.SubnetLengthIPv4
	if family == 6 {
		length = s.SubnetLengthIPv6
	}
	for _, cidr := range s.PodCIDRs {
		if familyOf(cidr) != family || length < cidr.Bits() || length > cidr.Addr().BitLen() {
			continue
		}
		if p, ok := chooseFrom(id, cidr, length, taken); ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func chooseFrom(id string, cidr netip.Prefix, length int, taken *bart.Lite) (netip.Prefix, bool) {
	bits := min(length-cidr.Bits(), 32)
	if 1<<bits > maxRanked {
		return probe(id, cidr, length, bits, taken)
	}
	var best netip.Prefix
	var bestRank uint64
	for n := range uint64(1) << bits {
		p := subnet(cidr, length, n)
		if taken.OverlapsPrefix(p) {
			continue
		}
		if rank := hashOf(id, p); !best.IsValid() || rank > bestRank {
			best, bestRank = p, rank
		}
	}
	return best, best.IsValid()
}

// probe tries subnets of a large range in an order that depends on the ID.
func probe(id string, cidr netip.Prefix, length, bits int, taken *bart.Lite) (netip.Prefix, bool) {
	start := hashOf(id, cidr)
	for i := range uint64(maxRanked) {
		n := mix(start+i) % (1 << bits)
		if p := subnet(cidr, length, n); !taken.OverlapsPrefix(p) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// subnet gives the n-th subnet of that length in the range.
func subnet(cidr netip.Prefix, length int, n uint64) netip.Prefix {
	addr := cidr.Addr().As16()
	high, low := binary.BigEndian.Uint64(addr[:8]), binary.BigEndian.Uint64(addr[8:])
	shift := cidr.Addr().BitLen() - length
	low |= n << shift // 0 for shifts from 64 on, in Go
	if shift >= 64 {
		high |= n << (shift - 64)
	} else if shift > 0 {
		high |= n >> (64 - shift)
	}
	binary.BigEndian.PutUint64(addr[:8], high)
	binary.BigEndian.PutUint64(addr[8:], low)
	out := netip.AddrFrom16(addr)
	if cidr.Addr().Is4() {
		out = out.Unmap()
	}
	return netip.PrefixFrom(out, length)
}

func hashOf(id string, p netip.Prefix) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	addr := p.Addr().As16()
	h.Write(addr[:])
	h.Write([]byte{byte(p.Bits())})
	return mix(h.Sum64())
}

// mix spreads the bits of a number (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 4
	}
	return 6
}
