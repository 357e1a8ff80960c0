package nft

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"github.com/poplin-net/poplin/reconciler"
)

// The kernel holds a range as two elements, its first address and the first
// one behind it, the latter flagged as an end. A range that reaches to the
// last address has no end. Ranges must not overlap; ranges that touch may.

// bounds gives the elements of a prefix.
func bounds(p netip.Prefix) []nftables.SetElement {
	start := p.Masked().Addr().AsSlice()
	end, open := behind(p)
	if open {
		return []nftables.SetElement{{Key: start, IntervalOpen: true}}
	}
	return []nftables.SetElement{{Key: start}, {Key: end, IntervalEnd: true}}
}

// behind gives the first address behind a prefix; open is set if there is
// none.
func behind(p netip.Prefix) (end []byte, open bool) {
	end = p.Masked().Addr().AsSlice()
	for bit := p.Bits() - 1; bit >= 0; bit-- {
		mask := byte(0x80) >> (bit % 8)
		end[bit/8] ^= mask
		if end[bit/8]&mask != 0 {
			return end, false
		}
	}
	return nil, true
}

// bound is one element of an interval set as read back.
type bound struct {
	key []byte
	end bool
}

// prefixes turns the elements of an interval set back into prefixes. A range
// that is no prefix was not made by poplin and is an error.
func prefixes(bounds []bound) ([]netip.Prefix, error) {
	slices.SortFunc(bounds, func(a, b bound) int {
		return cmp.Or(bytes.Compare(a.key, b.key), compareBool(b.end, a.end))
	})
	var out []netip.Prefix
	for i := 0; i < len(bounds); i++ {
		if bounds[i].end {
			continue // nft itself puts an end at the lowest address
		}
		first, _ := netip.AddrFromSlice(bounds[i].key)
		var end []byte
		if i+1 < len(bounds) {
			if !bounds[i+1].end {
				return nil, fmt.Errorf("the range from %s has no end", first)
			}
			end = bounds[i+1].key
			i++
		}
		p, ok := prefixBetween(first, end)
		if !ok {
			return nil, fmt.Errorf("the range from %s is no prefix", first)
		}
		out = append(out, p)
	}
	return out, nil
}

// prefixBetween gives the prefix that starts at first and ends before end
// (nil: with the last address).
func prefixBetween(first netip.Addr, end []byte) (netip.Prefix, bool) {
	for bits := first.BitLen(); bits >= 0; bits-- {
		p := netip.PrefixFrom(first, bits)
		if p.Masked().Addr() != first {
			return netip.Prefix{}, false
		}
		b, open := behind(p)
		if open && end == nil || !open && bytes.Equal(b, end) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// outermost leaves out the prefixes that lie inside others: the kernel takes
// no overlapping ranges, and the set means the same without them.
func outermost(elements []reconciler.Element) []reconciler.Element {
	sorted := slices.Clone(elements)
	slices.SortFunc(sorted, func(a, b reconciler.Element) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	out := sorted[:0]
	for _, e := range sorted {
		if n := len(out); n > 0 && out[n-1].Prefix.Contains(e.Prefix.Addr()) {
			continue
		}
		out = append(out, e)
	}
	return out
}
