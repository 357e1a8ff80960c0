package nft

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// field is one part of a set's key or value, and at the same time a field of
// reconciler.Element.
type field uint8

// The fields.
const (
	fieldAddress       field = iota + 1 // Element.Address
	fieldSameAddress                    // Element.Address once more
	fieldPrefix                         // Element.Prefix, as an interval
	fieldProtocol                       // Element.Protocol
	fieldPort                           // Element.Port
	fieldSlot                           // Element.Slot, as a mark in host byte order
	fieldTargetAddress                  // Element.Target's address
	fieldTargetPort                     // Element.Target's port
	fieldChain                          // Element.Chain, as the verdict goto
	fieldPortRange                      // Element.Port to Element.LastPort
	fieldClient                         // a client's address, in dynamic sets
	fieldLink                           // Element.Link
	fieldNumber                         // Element.Slot, in network byte order
	fieldNumbered                       // Element.Chain, as its number, likewise
)

// layout says what a set of the skeleton consists of.
type layout struct {
	name  reconciler.SetName
	key   []field
	value []field // empty: a plain set
	// dynamic sets are filled by packets, with elements that time out.
	dynamic bool
	// counts says that each element counts the packets that match it.
	counts bool
}

// affinitySize is the number of clients that can stick to endpoints at a
// time; beyond, connections are spread as without affinity. Elements take
// about 100 bytes each, and only those that are there.
const affinitySize = 1 << 18

// layouts lists the sets in the order in which they are made.
func layouts() []layout {
	var (
		frontend = []field{fieldAddress, fieldProtocol, fieldPort}
		nodePort = []field{fieldProtocol, fieldPort}
		target   = []field{fieldTargetAddress, fieldTargetPort}
		prefix   = []field{fieldPrefix}
		ports    = []field{fieldAddress, fieldProtocol, fieldPortRange}
		link     = []field{fieldLink}
	)
	return []layout{
		{name: reconciler.SetServices, key: frontend, value: []field{fieldNumbered}},
		{name: reconciler.SetPicks, key: []field{fieldNumber}, value: []field{fieldChain}},
		{name: reconciler.SetSpecialServices, key: frontend, value: []field{fieldChain}},
		{name: reconciler.SetEndpoints, key: append(frontend[:3:3], fieldSlot), value: target},
		{name: reconciler.SetNodePorts, key: nodePort, value: []field{fieldChain}},
		{name: reconciler.SetNodePortEndpoints, key: append(nodePort[:2:2], fieldSlot), value: target},
		{name: reconciler.SetOutsideServices, key: frontend, value: []field{fieldChain}},
		{name: reconciler.SetInsideServices, key: frontend, value: []field{fieldChain}},
		{name: reconciler.SetOutsideNodePorts, key: nodePort, value: []field{fieldChain}},
		{name: reconciler.SetInsideNodePorts, key: nodePort, value: []field{fieldChain}},
		{name: reconciler.SetSourceRanges, key: append(frontend[:3:3], fieldPrefix)},
		{name: reconciler.SetNodePortSourceRanges, key: append(nodePort[:2:2], fieldPrefix)},
		{name: reconciler.SetSticky, key: append(frontend[:3:3], fieldSlot), value: []field{fieldChain}},
		{name: reconciler.SetNodePortSticky, key: append(nodePort[:2:2], fieldSlot), value: []field{fieldChain}},
		{name: reconciler.SetAffinity, key: append(frontend[:3:3], fieldClient, fieldSlot), dynamic: true},
		{name: reconciler.SetNodePortAffinity, key: append(nodePort[:2:2], fieldClient, fieldSlot), dynamic: true},
		{name: reconciler.SetPortRanges, key: ports, value: []field{fieldChain}},
		{name: reconciler.SetRangeEndpoints, key: []field{fieldAddress, fieldProtocol, fieldSlot}, value: []field{fieldTargetAddress}},
		{name: reconciler.SetNodePortAddresses, key: prefix},
		{name: reconciler.SetClusterAddresses, key: []field{fieldAddress}},
		{name: reconciler.SetLoadBalancerAddresses, key: []field{fieldAddress}},
		{name: reconciler.SetServiceRanges, key: prefix},
		{name: reconciler.SetHairpin, key: []field{fieldAddress, fieldSameAddress}},
		{name: reconciler.SetPodRanges, key: prefix},
		{name: reconciler.SetLocalSubnets, key: prefix},
		{name: reconciler.SetMasqueradeSubnets, key: prefix},
		{name: reconciler.SetMasqueradeExclude, key: prefix},
		{name: reconciler.SetMasqueradeServices, key: frontend, value: []field{fieldChain}},
		{name: reconciler.SetMasqueradeNodePorts, key: nodePort, value: []field{fieldChain}},
		{name: reconciler.SetTraffic, key: frontend, counts: true},
		{name: reconciler.SetNodePortTraffic, key: nodePort, counts: true},
		{name: reconciler.SetRangeTraffic, key: ports, counts: true},
		{name: reconciler.SetConnections, key: frontend, counts: true},
		{name: reconciler.SetNodePortConnections, key: nodePort, counts: true},
		{name: reconciler.SetRangeConnections, key: ports, counts: true},
		{name: reconciler.SetTunnelPorts, key: nodePort, value: []field{fieldChain}},
		{name: reconciler.SetTunnelPeers, key: []field{fieldAddress}},
		{name: reconciler.SetUnknownPeers, key: nodePort, counts: true},
		{name: reconciler.SetGuardedLinks, key: link, value: []field{fieldChain}},
		{name: reconciler.SetPeerSubnets, key: prefix},
		{name: reconciler.SetForeignSources, key: link, counts: true},
	}
}

// index gives the layouts by name.
func index() map[reconciler.SetName]layout {
	m := make(map[reconciler.SetName]layout)
	for _, l := range layouts() {
		m[l.name] = l
	}
	return m
}

// interval reports whether the set holds ranges and nothing else.
func (l layout) interval() bool { return l.key[0] == fieldPrefix }

// ranged reports whether the set's keys end with a range. Such sets have
// elements with two keys instead of two elements.
func (l layout) ranged() bool {
	last := l.key[len(l.key)-1]
	return !l.interval() && (last == fieldPrefix || last == fieldPortRange)
}

// isRange reports whether an element is of a set that holds ranges and
// nothing else.
func isRange(e reconciler.Element) bool { return e.Prefix.IsValid() && e.Protocol == 0 }

// verdict reports whether the set maps to verdicts.
func (l layout) verdict() bool { return len(l.value) == 1 && l.value[0] == fieldChain }

// set describes the set to the kernel and to nft.
func (l layout) set(table *nftables.Table, f reconciler.Family) (*nftables.Set, error) {
	key, err := datatype(f, l.key)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", l.name, err)
	}
	s := &nftables.Set{
		Table: table, Name: string(l.name), KeyType: key,
		Interval: l.interval() || l.ranged(), Concatenation: len(l.key) > 1, IsMap: len(l.value) > 0,
		Counter: l.counts,
	}
	if l.key[0] == fieldLink {
		s.KeyByteOrder = binaryutil.NativeEndian // or nft lists no names
	}
	if l.dynamic {
		s.Dynamic, s.HasTimeout, s.Size = true, true, affinitySize
	}
	if s.IsMap {
		if s.DataType, err = datatype(f, l.value); err != nil {
			return nil, fmt.Errorf("map %s: %w", l.name, err)
		}
	}
	return s, nil
}

func datatype(f reconciler.Family, fields []field) (nftables.SetDatatype, error) {
	types := make([]nftables.SetDatatype, len(fields))
	for i, part := range fields {
		types[i] = part.datatype(f)
	}
	if len(types) == 1 {
		return types[0], nil
	}
	return nftables.ConcatSetType(types...)
}

func (p field) datatype(f reconciler.Family) nftables.SetDatatype {
	switch p {
	case fieldProtocol:
		return nftables.TypeInetProto
	case fieldPort, fieldTargetPort, fieldPortRange:
		return nftables.TypeInetService
	case fieldSlot:
		return nftables.TypeMark
	case fieldNumber, fieldNumbered:
		return nftables.TypeClassID // a packet's priority, though that is in host byte order
	case fieldChain:
		return nftables.TypeVerdict
	case fieldLink:
		return nftables.TypeIFName
	}
	if f == reconciler.IPv4 {
		return nftables.TypeIPAddr
	}
	return nftables.TypeIP6Addr
}

// width is the number of bytes that the field takes in a register: a
// multiple of four, and none for a verdict.
func (p field) width(f reconciler.Family) int {
	switch p {
	case fieldAddress, fieldSameAddress, fieldPrefix, fieldTargetAddress, fieldClient:
		return addressLength(f)
	case fieldChain:
		return 0
	case fieldLink:
		return unix.IFNAMSIZ
	}
	return 4
}

// addressLength is the number of bytes of a family's addresses.
func addressLength(f reconciler.Family) int {
	if f == reconciler.IPv4 {
		return 4
	}
	return 16
}

// family gives the kernel's number of a family.
func family(f reconciler.Family) nftables.TableFamily {
	if f == reconciler.IPv4 {
		return nftables.TableFamilyIPv4
	}
	return nftables.TableFamilyIPv6
}

// families lists the families in the order of their tables.
func families() []reconciler.Family {
	return []reconciler.Family{reconciler.IPv4, reconciler.IPv6}
}
