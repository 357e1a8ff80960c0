package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// text gives a rule as nft 1.0.6 lists it.
func (r *Ruleset) text(list rule) string {
	p := ruleWriter{family: r.family, sets: r.sets}
	for _, x := range list {
		p.expression(x)
	}
	return strings.Join(p.words, " ")
}

// ruleWriter runs a rule with texts in the place of values.
type ruleWriter struct {
	family    reconciler.Family
	sets      map[reconciler.SetName]*setIndex
	registers [registerBytes / 4]string
	words     []string
	// protocol is a comparison of the protocol that nft does not print if what
	// follows says the same.
	protocol string
}

func (p *ruleWriter) write(format string, args ...any) {
	if p.protocol != "" {
		p.words = append(p.words, p.protocol)
		p.protocol = ""
	}
	p.words = append(p.words, fmt.Sprintf(format, args...))
}

func (p *ruleWriter) expression(x expr.Any) {
	switch x := x.(type) {
	case *expr.Lookup:
		p.lookup(x)
	case *expr.Cmp:
		p.compare(p.registers[offset(x.Register)/4], x)
	case *expr.Dynset:
		p.dynset(x)
	case *expr.NAT:
		// nft names the family where there is a port beside the address.
		named := ""
		if x.RegProtoMin != 0 {
			named = string(p.family) + " "
		}
		p.write("dnat %sto %s", named, p.registers[offset(x.RegAddrMin)/4])
	case *expr.Masq:
		p.write("masquerade fully-random")
	case *expr.Redir:
		p.write("redirect")
	case *expr.Counter:
		p.write("counter packets %d bytes %d", x.Packets, x.Bytes)
	case *expr.Reject:
		if x.Type == unix.NFT_REJECT_TCP_RST {
			p.protocol = ""
			p.write("reject with tcp reset")
			return
		}
		p.write("reject")
	case *expr.Verdict:
		p.verdict(x)
	default:
		p.load(x)
	}
}

func (p *ruleWriter) verdict(x *expr.Verdict) {
	name, known := map[expr.VerdictKind]string{expr.VerdictJump: "jump " + x.Chain, expr.VerdictGoto: "goto " + x.Chain,
		expr.VerdictReturn: "return", expr.VerdictAccept: "accept", expr.VerdictDrop: "drop"}[x.Kind]
	if !known {
		name = fmt.Sprint("verdict ", x.Kind)
	}
	p.write("%s", name)
}

// key joins the texts of a set's key in registers.
func (p *ruleWriter) key(set string, register uint32) string {
	var parts []string
	at := offset(register) / 4
	for _, part := range p.sets[reconciler.SetName(set)].layout.key {
		parts = append(parts, p.registers[at])
		at += part.width(p.family) / 4
	}
	return strings.Join(parts, " . ")
}

func (p *ruleWriter) lookup(x *expr.Lookup) {
	key := p.key(x.SetName, x.SourceRegister)
	switch {
	case x.Invert:
		p.write("%s != @%s", key, x.SetName)
	case !x.IsDestRegSet:
		p.write("%s @%s", key, x.SetName)
	case p.sets[reconciler.SetName(x.SetName)].layout.verdict():
		p.write("%s vmap @%s", key, x.SetName)
	default:
		p.registers[offset(x.DestRegister)/4] = fmt.Sprintf("%s map @%s", key, x.SetName)
	}
}

func (p *ruleWriter) dynset(x *expr.Dynset) {
	verb := map[uint32]string{unix.NFT_DYNSET_OP_ADD: "add", unix.NFT_DYNSET_OP_UPDATE: "update"}[x.Operation]
	text := p.key(x.SetName, x.SrcRegKey)
	if x.Timeout > 0 {
		text += " timeout " + duration(x.Timeout)
	}
	p.write("%s @%s { %s }", verb, x.SetName, text)
}

// duration writes whole seconds the way that nft does: without units of
// which there are none.
func duration(d time.Duration) string {
	var out strings.Builder
	for _, unit := range []struct {
		is   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / unit.is; n > 0 {
			fmt.Fprint(&out, int(n), unit.name)
			d -= n * unit.is
		}
	}
	return out.String()
}

func (p *ruleWriter) compare(what string, x *expr.Cmp) {
	text := fmt.Sprintf("%#x", x.Data)
	switch {
	case what == "ct status dnat":
		p.write("%s", what) // compared with no bits
		return
	case what == "meta l4proto":
		p.protocol = what + " " + reconciler.Protocol(x.Data[0]).String()
		return
	case strings.HasSuffix(what, " type") && strings.HasPrefix(what, "icmp"):
		p.protocol = ""
		text = "echo-request"
	case strings.HasPrefix(what, "fib "):
		text = map[uint32]string{unix.RTN_LOCAL: "local", unix.RTN_UNICAST: "unicast"}[binary.NativeEndian.Uint32(x.Data)]
	case what == "iif": // loopback is the only link that a rule can know
		text = `"lo"`
	case len(x.Data) == 1:
		text = fmt.Sprintf("%d.0.0.0/8", x.Data[0])
	case len(x.Data) == addressLength(p.family):
		a, _ := netip.AddrFromSlice(x.Data)
		text = a.String()
	}
	if x.Op == expr.CmpOpNeq {
		text = "!= " + text
	}
	p.write("%s %s", what, text)
}

func (p *ruleWriter) load(x expr.Any) {
	switch x := x.(type) {
	case *expr.Payload:
		p.registers[offset(x.DestRegister)/4] = p.payload(x)
	case *expr.Meta:
		if x.SourceRegister { // of all keys only the priority is set
			p.write("meta priority set %s", strings.Replace(p.registers[offset(x.Register)/4], "0x00000000", "none", 1))
			return
		}
		p.registers[offset(x.Register)/4] = map[expr.MetaKey]string{expr.MetaKeyPRIORITY: "meta priority",
			expr.MetaKeyL4PROTO: "meta l4proto", expr.MetaKeyIIF: "iif", expr.MetaKeyIIFNAME: "iifname"}[x.Key]
	case *expr.Ct:
		p.registers[offset(x.Register)/4] = map[expr.CtKey]string{expr.CtKeySTATUS: "ct status", expr.CtKeyDSTIP: "ct original ip daddr",
			expr.CtKeyDSTIP6: "ct original ip6 daddr", expr.CtKeyPROTODST: "ct original proto-dst", expr.CtKeyPROTOCOL: "ct original protocol"}[x.Key]
	case *expr.Fib:
		end := "daddr"
		if x.FlagSADDR {
			end = "saddr"
		}
		p.registers[offset(x.Register)/4] = "fib " + end + " type"
	case *expr.Numgen:
		p.registers[offset(x.Register)/4] = fmt.Sprintf("numgen random mod %d", x.Modulus) + offsetText(x.Offset)
	case *expr.Hash:
		p.registers[offset(x.DestRegister)/4] = fmt.Sprintf("jhash %s mod %d seed %#x", p.registers[offset(x.SourceRegister)/4], x.Modulus, x.Seed) + offsetText(x.Offset)
	case *expr.Immediate:
		p.registers[offset(x.Register)/4] = fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(x.Data))
	case *expr.Bitwise:
		p.registers[offset(x.DestRegister)/4] += " dnat"
	}
}

func offsetText(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" offset %d", n)
}

// payload names a field of a header.
func (p *ruleWriter) payload(x *expr.Payload) string {
	switch {
	case x.Base == expr.PayloadBaseTransportHeader && x.Len == 1:
		return map[reconciler.Family]string{reconciler.IPv4: "icmp type", reconciler.IPv6: "icmpv6 type"}[p.family]
	case x.Base == expr.PayloadBaseTransportHeader:
		return "th dport"
	case x.Offset == 12 || x.Offset == 8:
		return string(p.family) + " saddr"
	}
	return string(p.family) + " daddr"
}
