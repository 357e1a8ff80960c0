package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// offset is where a register starts among the bytes of all: the opposite of
// register.
func offset(register uint32) int {
	if register >= unix.NFT_REG32_00 {
		return int(register-unix.NFT_REG32_00) * 4
	}
	return int(register-unix.NFT_REG_1) * 16
}

// someLink is the number of a link that packets arrive by: any but loopback.
// A packet that the host sends to itself is not followed further once it is
// on its way there: what happens to its connection is settled by then.
const someLink = 2

// load runs an expression that puts something into a register.
func (e *evaluation) load(x expr.Any) error {
	switch x := x.(type) {
	case *expr.Payload:
		return e.loadPayload(x)
	case *expr.Meta:
		switch {
		case x.SourceRegister && x.Key == expr.MetaKeyPRIORITY:
			at := offset(x.Register)
			copy(e.priority[:], e.registers[at:at+len(e.priority)])
		case x.SourceRegister:
			return fmt.Errorf("setting meta key %d is not known", x.Key)
		case x.Key == expr.MetaKeyPRIORITY:
			e.store(x.Register, e.priority[:])
		case x.Key == expr.MetaKeyL4PROTO:
			e.store(x.Register, []byte{byte(e.packet.Protocol)})
		case x.Key == expr.MetaKeyIIF:
			e.storeNumber(x.Register, someLink)
		case x.Key == expr.MetaKeyIIFNAME:
			e.store(x.Register, linkBytes(e.arrival()))
		default:
			return fmt.Errorf("meta key %d is not known", x.Key)
		}
	case *expr.Ct:
		return e.loadConnection(x)
	case *expr.Fib:
		return e.loadAddressType(x)
	case *expr.Numgen:
		if x.Type != unix.NFT_NG_RANDOM {
			return fmt.Errorf("number generator %d is not known", x.Type)
		}
		e.storeNumber(x.Register, e.random(x.Modulus)+x.Offset)
	case *expr.Hash:
		if x.Type != expr.HashTypeJenkins {
			return fmt.Errorf("hash %d is not known", x.Type)
		}
		at := offset(x.SourceRegister)
		hash := jhash(e.registers[at:at+int(x.Length)], x.Seed)
		e.storeNumber(x.DestRegister, uint32(uint64(hash)*uint64(x.Modulus)>>32)+x.Offset) // reciprocal_scale
	case *expr.Immediate:
		e.store(x.Register, x.Data)
	case *expr.Bitwise:
		e.bitwise(x)
	default:
		return fmt.Errorf("expression %T is not known", x)
	}
	return nil
}

// arrival is the link by which the packet comes in.
func (e *evaluation) arrival() string {
	if e.packet.Link != "" {
		return e.packet.Link
	}
	return e.route(e.original.Source).Link
}

// store puts bytes into registers, with zeros up to the next whole word.
func (e *evaluation) store(register uint32, b []byte) {
	at := offset(register)
	clear(e.registers[at : at+(len(b)+3)&^3])
	copy(e.registers[at:], b)
}

func (e *evaluation) storeNumber(register, n uint32) {
	e.store(register, binary.NativeEndian.AppendUint32(nil, n))
}

// loadPayload takes bytes of the packet's headers: of the fields that the
// tracer knows, which are addresses and ports, or the type of an echo
// request.
func (e *evaluation) loadPayload(x *expr.Payload) error {
	var header []byte
	known := false
	switch x.Base {
	case expr.PayloadBaseNetworkHeader:
		source := map[reconciler.Family]uint32{reconciler.IPv4: 12, reconciler.IPv6: 8}[e.rules.family]
		header = append(make([]byte, source), e.packet.Source.AsSlice()...)
		header = append(header, e.packet.Destination.Addr().AsSlice()...)
		known = x.Offset >= source
	case expr.PayloadBaseTransportHeader:
		header = binary.BigEndian.AppendUint16(header, 0)
		header = binary.BigEndian.AppendUint16(header, e.packet.Destination.Port())
		known = x.Offset == 2
		if e.echo() {
			header[0] = map[reconciler.Family]byte{reconciler.IPv4: 8, reconciler.IPv6: 128}[e.rules.family]
			known = true
		}
	}
	if !known || int(x.Offset+x.Len) > len(header) {
		return fmt.Errorf("bytes %d to %d of header %d are not known", x.Offset, x.Offset+x.Len-1, x.Base)
	}
	e.store(x.DestRegister, header[x.Offset:x.Offset+x.Len])
	return nil
}

// echo reports whether the packet is an ICMP echo request.
func (e *evaluation) echo() bool {
	return e.packet.Protocol == unix.IPPROTO_ICMP || e.packet.Protocol == unix.IPPROTO_ICMPV6
}

// loadConnection takes something of the packet's connection.
func (e *evaluation) loadConnection(x *expr.Ct) error {
	to := e.original.Destination
	switch x.Key {
	case expr.CtKeySTATUS:
		var status uint32
		if e.way.Translated || e.redirected {
			status = 1 << 5 // IPS_DST_NAT of enum ip_conntrack_status
		}
		e.storeNumber(x.Register, status)
		return nil
	case expr.CtKeyDSTIP, expr.CtKeyDSTIP6:
		e.store(x.Register, to.Addr().AsSlice())
	case expr.CtKeyPROTODST:
		e.store(x.Register, binary.BigEndian.AppendUint16(nil, to.Port()))
	case expr.CtKeyPROTOCOL:
		e.store(x.Register, []byte{byte(e.original.Protocol)})
	default:
		return fmt.Errorf("connection key %d is not known", x.Key)
	}
	if !x.OptDirection || x.Direction != expr.CtDirOriginal {
		return fmt.Errorf("connection key %d is known of the original direction only", x.Key)
	}
	return nil
}

// loadAddressType takes the type of an address: local or not.
func (e *evaluation) loadAddressType(x *expr.Fib) error {
	if !x.ResultADDRTYPE || x.FlagIIF || x.FlagOIF || x.FlagMARK || x.FlagSADDR == x.FlagDADDR {
		return fmt.Errorf("lookup of routes %+v is not known", *x)
	}
	address := e.packet.Destination.Addr()
	if x.FlagSADDR {
		address = e.packet.Source
	}
	kind := uint32(unix.RTN_UNICAST)
	if e.route(address).Local {
		kind = unix.RTN_LOCAL
	}
	e.storeNumber(x.Register, kind)
	return nil
}

func (e *evaluation) bitwise(x *expr.Bitwise) {
	from, to := offset(x.SourceRegister), offset(x.DestRegister)
	for i := range int(x.Len) {
		e.registers[to+i] = e.registers[from+i]&x.Mask[i] ^ x.Xor[i]
	}
}
