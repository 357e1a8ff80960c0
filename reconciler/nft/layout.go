package nft

import (
	"fmt"

	"github.com/google/nftables"

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
)

// layout says what a set of the skeleton consists of.
type layout struct {
	name  reconciler.SetName
	key   []field
	value []field // empty: a plain set
}

// layouts lists the sets in the order in which they are made.
func layouts() []layout {
	var (
		frontend = []field{fieldAddress, fieldProtocol, fieldPort}
		nodePort = []field{fieldProtocol, fieldPort}
		target   = []field{fieldTargetAddress, fieldTargetPort}
		prefix   = []field{fieldPrefix}
	)
	return []layout{
		{reconciler.SetServices, frontend, []field{fieldChain}},
		{reconciler.SetEndpoints, append(frontend[:3:3], fieldSlot), target},
		{reconciler.SetNodePorts, nodePort, []field{fieldChain}},
		{reconciler.SetNodePortEndpoints, append(nodePort[:2:2], fieldSlot), target},
		{reconciler.SetOutsideServices, frontend, []field{fieldChain}},
		{reconciler.SetInsideServices, frontend, []field{fieldChain}},
		{reconciler.SetOutsideNodePorts, nodePort, []field{fieldChain}},
		{reconciler.SetInsideNodePorts, nodePort, []field{fieldChain}},
		{reconciler.SetSourceRanges, append(frontend[:3:3], fieldPrefix), nil},
		{reconciler.SetNodePortSourceRanges, append(nodePort[:2:2], fieldPrefix), nil},
		{reconciler.SetNodePortAddresses, prefix, nil},
		{reconciler.SetClusterAddresses, []field{fieldAddress}, nil},
		{reconciler.SetLoadBalancerAddresses, []field{fieldAddress}, nil},
		{reconciler.SetServiceRanges, prefix, nil},
		{reconciler.SetHairpin, []field{fieldAddress, fieldSameAddress}, nil},
		{reconciler.SetPodRanges, prefix, nil},
		{reconciler.SetLocalSubnets, prefix, nil},
		{reconciler.SetMasqueradeSubnets, prefix, nil},
		{reconciler.SetMasqueradeExclude, prefix, nil},
		{reconciler.SetMasqueradeServices, frontend, []field{fieldChain}},
		{reconciler.SetMasqueradeNodePorts, nodePort, []field{fieldChain}},
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
func (l layout) ranged() bool { return !l.interval() && l.key[len(l.key)-1] == fieldPrefix }

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
	case fieldPort, fieldTargetPort:
		return nftables.TypeInetService
	case fieldSlot:
		return nftables.TypeMark
	case fieldChain:
		return nftables.TypeVerdict
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
	case fieldAddress, fieldSameAddress, fieldPrefix, fieldTargetAddress:
		return addressLength(f)
	case fieldChain:
		return 0
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
