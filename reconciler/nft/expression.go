package nft

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// rule is the expressions of one rule, in the form in which the kernel gives
// them back.
type rule []expr.Any

// join makes one rule of parts.
func join(parts ...rule) rule {
	var out rule
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// value is something that can be loaded into a register.
type value struct {
	words int // of four bytes
	load  func(register uint32) expr.Any
}

// register numbers the registers by words of four bytes, as the kernel gives
// them back: by its old names of 16 bytes where one starts.
func register(word int) uint32 {
	if word%4 == 0 {
		return unix.NFT_REG_1 + uint32(word/4)
	}
	return unix.NFT_REG32_00 + uint32(word)
}

// load puts values side by side into the registers from the first.
func load(values ...value) rule {
	var out rule
	word := 0
	for _, v := range values {
		out = append(out, v.load(register(word)))
		word += v.words
	}
	return out
}

// in matches if the set holds the values side by side.
func in(set reconciler.SetName, values ...value) rule {
	return append(load(values...), &expr.Lookup{SourceRegister: register(0), SetName: string(set)})
}

// notIn is the opposite of in.
func notIn(set reconciler.SetName, values ...value) rule {
	return append(load(values...), &expr.Lookup{SourceRegister: register(0), SetName: string(set), Invert: true})
}

// vmap ends with the verdict that the map holds for the values, if any.
func vmap(set reconciler.SetName, values ...value) rule {
	return append(load(values...), &expr.Lookup{SourceRegister: register(0), SetName: string(set), IsDestRegSet: true})
}

// compare matches if a value is equal (or not) to bytes.
func compare(op expr.CmpOp, v value, data []byte) rule {
	return append(load(v), &expr.Cmp{Op: op, Register: register(0), Data: data})
}

func payload(base expr.PayloadBase, offset, length uint32) value {
	return value{int(length+3) / 4, func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: base, Offset: offset, Len: length}
	}}
}

func meta(key expr.MetaKey) value {
	return value{1, func(r uint32) expr.Any { return &expr.Meta{Key: key, Register: r} }}
}

// original is a value of the original tuple of the packet's connection.
func original(key expr.CtKey, words int) value {
	return value{words, func(r uint32) expr.Any {
		return &expr.Ct{Key: key, Register: r, OptDirection: true, Direction: expr.CtDirOriginal}
	}}
}

// random draws one of offset … offset+modulus-1, in host byte order.
func random(modulus int, offset uint32) value {
	return value{1, func(r uint32) expr.Any {
		return &expr.Numgen{Register: r, Modulus: uint32(modulus), Type: unix.NFT_NG_RANDOM, Offset: offset}
	}}
}

// number is a constant in host byte order.
func number(n uint32) value {
	return value{1, func(r uint32) expr.Any {
		return &expr.Immediate{Register: r, Data: binary.NativeEndian.AppendUint32(nil, n)}
	}}
}

func protocol() value { return meta(expr.MetaKeyL4PROTO) }

// link is the name of the link by which a packet came in.
func link() value {
	return value{unix.IFNAMSIZ / 4, func(r uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: r} }}
}

func port() value { return payload(expr.PayloadBaseTransportHeader, 2, 2) }

func source(f reconciler.Family) value {
	if f == reconciler.IPv4 {
		return payload(expr.PayloadBaseNetworkHeader, 12, 4)
	}
	return payload(expr.PayloadBaseNetworkHeader, 8, 16)
}

func destination(f reconciler.Family) value {
	if f == reconciler.IPv4 {
		return payload(expr.PayloadBaseNetworkHeader, 16, 4)
	}
	return payload(expr.PayloadBaseNetworkHeader, 24, 16)
}

// originalDestination has keys of its own per family: nft aborts where it
// lists the older key that serves both.
func originalDestination(f reconciler.Family) value {
	if f == reconciler.IPv4 {
		return original(expr.CtKeyDSTIP, 1)
	}
	return original(expr.CtKeyDSTIP6, 4)
}

func originalPort() value { return original(expr.CtKeyPROTODST, 1) }

func protocolIs(p uint8) rule { return compare(expr.CmpOpEq, protocol(), []byte{p}) }

// direction is an end of a packet's way.
type direction bool

const (
	toDestination direction = false
	fromSource    direction = true
)

// priority is the packet's: what is left for the next lookup of the same rule.
func priority() value { return meta(expr.MetaKeyPRIORITY) }

// setPriority makes the first register of a rule the packet's priority.
func setPriority(loads rule) rule {
	return append(loads, &expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: register(0)})
}

// local matches packets of which an end is (or is not) an address of this
// host.
func local(op expr.CmpOp, end direction) rule { return addressType(op, end, unix.RTN_LOCAL) }

// typeUnicast is the type of addresses of others that can be sent to.
const typeUnicast = unix.RTN_UNICAST

// addressType matches packets of which an end is (or is not) an address of a
// type: what a route to it is for.
func addressType(op expr.CmpOp, end direction, is uint32) rule {
	kind := value{1, func(r uint32) expr.Any {
		return &expr.Fib{Register: r, FlagSADDR: end == fromSource, FlagDADDR: end == toDestination, ResultADDRTYPE: true}
	}}
	return compare(op, kind, binary.NativeEndian.AppendUint32(nil, is))
}

// notLoopback matches destinations other than loopback.
func notLoopback(f reconciler.Family) rule {
	if f == reconciler.IPv6 {
		return compare(expr.CmpOpNeq, destination(f), netip.IPv6Loopback().AsSlice())
	}
	// nft writes a prefix that ends on a byte as a comparison of fewer bytes.
	return compare(expr.CmpOpNeq, payload(expr.PayloadBaseNetworkHeader, 16, 1), []byte{127})
}

// translated matches connections that a destination NAT applies to.
func translated() rule {
	status := value{1, func(r uint32) expr.Any { return &expr.Ct{Key: expr.CtKeySTATUS, Register: r} }}
	const ipsDstNAT = 1 << 5 // enum ip_conntrack_status
	return join(load(status), rule{
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, ipsDstNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: make([]byte, 4)},
	})
}

// notFromHost matches packets that came in over a link: what a host sends to
// itself comes in over lo, always the link number 1.
func notFromHost() rule {
	return compare(expr.CmpOpNeq, meta(expr.MetaKeyIIF), binary.NativeEndian.AppendUint32(nil, 1))
}

// translate sends the connection to what the map holds for the values.
func translate(f reconciler.Family, set reconciler.SetName, values ...value) rule {
	return join(endpoint(set, 0, values...), destinationNAT(f, 0))
}

// endpoint looks the values up in a map and puts what it holds, an address and
// a port, into the registers from a word on. It does not match if the map
// holds nothing.
func endpoint(set reconciler.SetName, word int, values ...value) rule {
	return append(load(values...),
		&expr.Lookup{SourceRegister: register(0), SetName: string(set), IsDestRegSet: true, DestRegister: register(word)})
}

// destinationNAT sends the connection to the address and port that are in
// the registers from a word on.
func destinationNAT(f reconciler.Family, word int) rule {
	port := word + addressLength(f)/4
	return rule{&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family(f)), RegAddrMin: register(word), RegAddrMax: register(word),
		RegProtoMin: register(port), RegProtoMax: register(port), Specified: true}}
}

// refresh puts the values into a dynamic set, for a time from now on. Where
// the set is full and does not have them, the rule ends there.
func refresh(set reconciler.SetName, timeout time.Duration, values ...value) rule {
	return append(load(values...),
		&expr.Dynset{SrcRegKey: register(0), SetName: string(set), Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: timeout})
}

// masquerade gives the connection this host's address and a random port:
// counting ports up from the old one collides under load.
func masquerade() rule { return rule{&expr.Masq{FullyRandom: true}} }

func jump(chain string) rule  { return rule{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }
func goTo(chain string) rule  { return rule{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}} }
func drop() rule              { return rule{&expr.Verdict{Kind: expr.VerdictDrop}} }
func redirect() rule          { return rule{&expr.Redir{}} }
func reject(t, c uint32) rule { return rule{&expr.Reject{Type: t, Code: uint8(c)}} }

// echoRequest matches a ping.
func echoRequest(f reconciler.Family) rule {
	number, kind := uint8(unix.IPPROTO_ICMP), byte(8)
	if f == reconciler.IPv6 {
		number, kind = unix.IPPROTO_ICMPV6, 128
	}
	return join(protocolIs(number), compare(expr.CmpOpEq, payload(expr.PayloadBaseTransportHeader, 0, 1), []byte{kind}))
}

// hook is where a base chain is attached.
type hook struct {
	kind     nftables.ChainType
	number   *nftables.ChainHook
	priority *nftables.ChainPriority
}
