package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// encode gives the bytes of fields of an element, each padded to four bytes,
// as they lie in registers. A verdict has none: it goes by its chain's name.
func encode(fields []field, e reconciler.Element) []byte {
	var b []byte
	for _, p := range fields {
		switch p {
		case fieldAddress, fieldSameAddress:
			b = append(b, e.Address.AsSlice()...)
		case fieldPrefix:
			b = append(b, e.Prefix.Addr().AsSlice()...)
		case fieldProtocol:
			b = append(b, byte(e.Protocol), 0, 0, 0)
		case fieldPort, fieldPortRange:
			b = append(binary.BigEndian.AppendUint16(b, e.Port), 0, 0)
		case fieldSlot:
			b = binary.NativeEndian.AppendUint32(b, e.Slot)
		case fieldNumber:
			b = binary.BigEndian.AppendUint32(b, e.Slot)
		case fieldNumbered:
			slots, _ := reconciler.NumberOf(e.Chain)
			b = binary.BigEndian.AppendUint32(b, slots)
		case fieldLink:
			b = append(b, linkBytes(e.Link)...)
		case fieldTargetAddress:
			b = append(b, e.Target.Addr().AsSlice()...)
		case fieldTargetPort:
			b = append(binary.BigEndian.AppendUint16(b, e.Target.Port()), 0, 0)
		}
	}
	return b
}

// linkBytes gives a link's name as it lies in registers.
func linkBytes(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// encodeEnd gives the second key of an element whose key ends with a range:
// the one with the last address or port.
func encodeEnd(fields []field, e reconciler.Element) []byte {
	if fields[len(fields)-1] == fieldPortRange {
		e.Port = e.LastPort
		return encode(fields, e)
	}
	last := e.Prefix.Addr().AsSlice()
	for i := e.Prefix.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	b := encode(fields, e)
	return append(b[:len(b)-len(last)], last...)
}

// decodeEnd reads the range back that a key ends with, once the rest of the
// element is decoded.
func decodeEnd(fields []field, b []byte, e *reconciler.Element) error {
	if fields[len(fields)-1] == fieldPortRange {
		if len(b) < 4 {
			return errors.New("too short")
		}
		e.LastPort = binary.BigEndian.Uint16(b[len(b)-4:])
		return nil
	}
	n := addressLength(e.Family)
	if len(b) < n {
		return errors.New("too short")
	}
	first := e.Prefix.Addr()
	for bits := first.BitLen(); bits >= 0; bits-- {
		e.Prefix = netip.PrefixFrom(first, bits)
		if end := encodeEnd([]field{fieldPrefix}, *e); e.Prefix == e.Prefix.Masked() && bytes.Equal(end, b[len(b)-n:]) {
			return nil
		}
	}
	return fmt.Errorf("the range from %s is no prefix", first)
}

// decode reads back what encode wrote into the fields of an element of the
// family.
func decode(fields []field, b []byte, e *reconciler.Element) error {
	var target netip.Addr
	for _, p := range fields {
		n := p.width(e.Family)
		if len(b) < n {
			return errors.New("too short")
		}
		part := b[:n]
		b = b[n:]
		switch p {
		case fieldAddress:
			e.Address, _ = netip.AddrFromSlice(part)
		case fieldSameAddress:
			if a, _ := netip.AddrFromSlice(part); a != e.Address {
				return fmt.Errorf("two addresses, %s and %s", e.Address, a)
			}
		case fieldPrefix:
			first, _ := netip.AddrFromSlice(part)
			e.Prefix = netip.PrefixFrom(first, first.BitLen())
		case fieldProtocol:
			e.Protocol = reconciler.Protocol(part[0])
		case fieldPort, fieldPortRange:
			e.Port = binary.BigEndian.Uint16(part)
		case fieldSlot:
			e.Slot = binary.NativeEndian.Uint32(part)
		case fieldNumber:
			e.Slot = binary.BigEndian.Uint32(part)
		case fieldNumbered:
			e.Chain = reconciler.ChainOf(binary.BigEndian.Uint32(part))
		case fieldLink:
			e.Link = string(bytes.TrimRight(part, "\x00"))
		case fieldTargetAddress:
			target, _ = netip.AddrFromSlice(part)
			e.Target = netip.AddrPortFrom(target, 0)
		case fieldTargetPort:
			e.Target = netip.AddrPortFrom(target, binary.BigEndian.Uint16(part))
		}
	}
	if len(b) > 0 {
		return errors.New("too long")
	}
	return nil
}

// check returns an error unless the set can hold the element: exactly the
// set's fields are in use, and each is of the element's family and in its
// canonical form. Anything else would be read back as something else.
func (l layout) check(e reconciler.Element) error {
	rest := e
	for _, p := range append(l.key[:len(l.key):len(l.key)], l.value...) {
		switch p {
		case fieldAddress:
			if err := checkAddress(e.Family, e.Address); err != nil {
				return err
			}
			rest.Address = netip.Addr{}
		case fieldPrefix:
			if err := checkAddress(e.Family, e.Prefix.Addr()); err != nil {
				return err
			}
			if e.Prefix != e.Prefix.Masked() {
				return fmt.Errorf("%s has bits beyond its length", e.Prefix)
			}
			rest.Prefix = netip.Prefix{}
		case fieldProtocol:
			if e.Protocol == 0 {
				return errors.New("the protocol is missing")
			}
			rest.Protocol = 0
		case fieldPort:
			rest.Port = 0
		case fieldPortRange:
			if e.LastPort < max(e.Port, 1) {
				return fmt.Errorf("%d-%d is no range of ports", e.Port, e.LastPort)
			}
			rest.Port, rest.LastPort = 0, 0
		case fieldSlot, fieldNumber:
			rest.Slot = 0
		case fieldNumbered:
			if _, ok := reconciler.NumberOf(e.Chain); !ok {
				return fmt.Errorf("%q is no chain with a number", e.Chain)
			}
			rest.Chain = ""
		case fieldLink:
			if e.Link == "" || len(e.Link) >= unix.IFNAMSIZ {
				return fmt.Errorf("%q is no name of a link", e.Link)
			}
			rest.Link = ""
		case fieldTargetAddress:
			if err := checkAddress(e.Family, e.Target.Addr()); err != nil {
				return err
			}
			if !slices.Contains(l.value, fieldTargetPort) && e.Target.Port() != 0 {
				return errors.New("the endpoint has a port")
			}
			rest.Target = netip.AddrPort{}
		case fieldChain:
			if e.Chain == "" {
				return errors.New("the chain is missing")
			}
			rest.Chain = ""
		}
	}
	if rest != (reconciler.Element{Family: e.Family, Set: e.Set}) {
		return fmt.Errorf("a field that %s does not have is set", l.name)
	}
	return nil
}

func checkAddress(f reconciler.Family, a netip.Addr) error {
	switch {
	case !a.IsValid():
		return errors.New("an address is missing")
	case a.BitLen() != 8*addressLength(f) || a.Is4In6() || a.Zone() != "":
		return fmt.Errorf("%s is no address of family %s", a, f)
	}
	return nil
}
