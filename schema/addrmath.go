package schema

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// addrAt is the address that many steps above the first of a range.
func addrAt(p netip.Prefix, steps uint64) netip.Addr {
	b := p.Addr().As16()
	low := binary.BigEndian.Uint64(b[8:])
	high := binary.BigEndian.Uint64(b[:8])
	low, carry := bits.Add64(low, steps, 0)
	binary.BigEndian.PutUint64(b[8:], low)
	binary.BigEndian.PutUint64(b[:8], high+carry)
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		return a.Unmap()
	}
	return a
}

// stepsTo counts the steps from the first address of a range to an address
// in it; the largest number if there are more.
func stepsTo(p netip.Prefix, a netip.Addr) uint64 {
	x, y := p.Addr().As16(), a.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(y[8:]), binary.BigEndian.Uint64(x[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(y[:8]), binary.BigEndian.Uint64(x[:8]), borrow)
	if high != 0 {
		return ^uint64(0)
	}
	return low
}

// size is the number of addresses in a range; the largest number if there
// are more.
func size(p netip.Prefix) uint64 {
	hostBits := p.Addr().BitLen() - p.Bits()
	if hostBits >= 64 {
		return ^uint64(0)
	}
	return 1 << hostBits
}

// usable reports whether a host can have the address: it is in the range,
// and neither its first (the network's, or RFC 4291's subnet-router anycast)
// nor, with IPv4, its last (broadcast).
func usable(p netip.Prefix, a netip.Addr) bool {
	return p.Contains(a) && a != p.Addr() && (a.Is6() || a != lastAddr(p))
}

// size is the number of addresses in a range; the largest number if there
// are more.
func (r AddrRange) size() uint64 {
	steps := stepsTo(r.whole(), r.Last)
	if steps == ^uint64(0) {
		return steps
	}
	return steps + 1
}

// at is the address that many steps above the first of a range.
func (r AddrRange) at(steps uint64) netip.Addr { return addrAt(r.whole(), steps) }

// whole is the first address as a prefix, for calculations.
func (r AddrRange) whole() netip.Prefix { return netip.PrefixFrom(r.First, r.First.BitLen()) }

// overlaps reports whether a range and a prefix share an address.
func (r AddrRange) overlaps(p netip.Prefix) bool {
	return p.Contains(r.First) || r.Contains(p.Masked().Addr())
}

// anyRange reports whether an address is in one of the ranges.
func anyRange(list []AddrRange, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(r AddrRange) bool { return r.Contains(a) })
}

// anyPrefix is anyRange for prefixes.
func anyPrefix(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// outermost leaves out ranges that are inside others.
func outermost(list []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, netip.Prefix.Compare)
	var out []netip.Prefix
	for _, p := range sorted {
		if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
			out = append(out, p)
		}
	}
	return out
}
