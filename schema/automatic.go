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
func hash(what string) uint64 {
	sum := sha256.Sum256([]byte(what))
	return binary.BigEndian.Uint64(sum[:8])
}

// choice is an element of a range of that many, for a name: the one that the
// hash says, and for Allocate, which looks for a free one, those after it.
func choice(what string, count, step uint64) uint64 { return (hash(what)%count + step) % count }

// addressPool is where automatic cluster IPs of one family are from: a
// service range but for its first and last address and those of DNS.
type addressPool struct {
	prefix netip.Prefix
	taken  []uint64 // by DNS, as steps from the first address, sorted
	count  uint64
}

func newAddressPool(p netip.Prefix, dns []netip.Addr) addressPool {
	pool := addressPool{prefix: p}
	for _, a := range dns {
		if usable(p, a) && a != lastAddr(p) {
			pool.taken = append(pool.taken, stepsTo(p, a))
		}
	}
	slices.Sort(pool.taken)
	pool.taken = slices.Compact(pool.taken)
	pool.count = size(p) - 2 - uint64(len(pool.taken))
	return pool
}

// address is the cluster IP of a name; step is 0 but for Allocate.
func (p addressPool) address(name Name, step uint64) netip.Addr {
	steps := 1 + choice("cluster-ip "+name.String(), p.count, step)
	for _, t := range p.taken {
		if steps >= t {
			steps++
		}
	}
	return addrAt(p.prefix, steps)
}

// upperHalf is where automatic node ports are from; the lower half is left
// for those that people write down.
func upperHalf(r PortRange) PortRange {
	return PortRange{r.First + (r.Last-r.First+1)/2, r.Last}
}

// automaticNodePort is the node port of a service's port, which is named by
// its name; step is 0 but for Allocate.
func automaticNodePort(name Name, port ServicePort, r PortRange, step uint64) uint16 {
	half := upperHalf(r)
	count := uint64(half.Last-half.First) + 1
	return half.First + uint16(choice("node-port "+name.String()+" "+port.Name, count, step))
}

// automaticHealthPort is the node port of a service's health check; step is 0
// but for Allocate.
func automaticHealthPort(name Name, r PortRange, step uint64) uint16 {
	half := upperHalf(r)
	count := uint64(half.Last-half.First) + 1
	return half.First + uint16(choice("health-check "+name.String(), count, step))
}

// balancerPool is where automatic load balancer addresses of one family are
// from.
type balancerPool struct {
	ranges []AddrRange
	count  uint64 // of addresses; the largest number if there are more
}

func newBalancerPool(ranges []AddrRange, family Family) balancerPool {
	var pool balancerPool
	for _, r := range ranges {
		if FamilyOf(r.First) != family {
			continue
		}
		pool.ranges = append(pool.ranges, r)
		if size := r.size(); pool.count+size >= size {
			pool.count += size
		} else {
			pool.count = ^uint64(0)
		}
	}
	return pool
}

// address is the load balancer address of a name; step is 0 but for Allocate.
// The pool is not empty.
func (p balancerPool) address(name Name, step uint64) netip.Addr {
	steps := choice("load-balancer "+name.String(), p.count, step)
	for _, r := range p.ranges[:len(p.ranges)-1] {
		if steps < r.size() {
			return r.at(steps)
		}
		steps -= r.size()
	}
	return p.ranges[len(p.ranges)-1].at(steps)
}
