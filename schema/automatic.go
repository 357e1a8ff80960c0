package schema

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Addresses and node ports that nobody wrote down are a pure function of the
// name, so that every node, at any time, comes to the same without asking
// anybody. There is no probing: what a name gets never depends on which
// other names there are. Two names that meet are an error; Allocate settles
// it by writing the numbers down.

// hash spreads a name evenly over 64 bits.
func hash(what string, attempt int) uint64 {
	if attempt > 0 {
		what += "#" + string(binary.AppendUvarint(nil, uint64(attempt)))
	}
	sum := sha256.Sum256([]byte(what))
	return binary.BigEndian.Uint64(sum[:8])
}

// automaticAddress is the cluster IP that a name has in a service range. The
// first and last address of the range and those of DNS are nobody's. The
// attempt is 0 but for Allocate, which goes on from there.
func automaticAddress(name Name, p netip.Prefix, dns []netip.Addr, attempt int) netip.Addr {
	first, last := uint64(1), size(p)-2
	var taken []uint64
	for _, a := range dns {
		if steps := stepsTo(p, a); p.Contains(a) && steps >= first && steps <= last {
			taken = append(taken, steps)
		}
	}
	slices.Sort(taken)
	taken = slices.Compact(taken)
	steps := first + hash("cluster-ip "+name.String(), attempt)%(last-first+1-uint64(len(taken)))
	for _, t := range taken {
		if steps >= t {
			steps++
		}
	}
	return addrAt(p, steps)
}

// automaticNodePort is the node port of a service's port, in the upper half
// of the range: the lower half is left for those that people write down.
func automaticNodePort(name Name, port string, r PortRange, attempt int) uint16 {
	first := r.First + (r.Last-r.First)/2
	if first < r.Last {
		first++
	}
	count := uint64(r.Last-first) + 1
	return first + uint16(hash("node-port "+name.String()+" "+port, attempt)%count)
}
