package nft

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// translate sends the packet to the address and port in registers.
func (e *evaluation) translate(x *expr.NAT) (effect, error) {
	if x.Type != expr.NATTypeDestNAT {
		return effect{}, errors.New("a translation of the source is not known")
	}
	at := offset(x.RegAddrMin)
	address, _ := netip.AddrFromSlice(e.registers[at : at+addressLength(e.rules.family)])
	port := e.packet.Destination.Port()
	if x.RegProtoMin != 0 {
		port = binary.BigEndian.Uint16(e.registers[offset(x.RegProtoMin):])
	}
	e.packet.Destination = netip.AddrPortFrom(address, port)
	e.way.Translated = true
	return effect{verdict: accept, text: "dnat to " + e.packet.Destination.String(), decides: true}, nil
}

// masquerade gives the packet the address of the link that it leaves by.
func (e *evaluation) masquerade() effect {
	e.packet.Source = e.way.Hop.Address
	e.way.Masqueraded = true
	return effect{verdict: accept, text: "masquerade as " + e.packet.Source.String(), decides: true}
}

// redirect makes the packet one for this host.
func (e *evaluation) redirect() effect {
	e.redirected = true
	return effect{verdict: accept, text: "redirect", decides: true}
}

func (e *evaluation) reject(x *expr.Reject) effect {
	e.end(Refused)
	text := "reject"
	if x.Type == unix.NFT_REJECT_TCP_RST {
		text = "reject with tcp reset"
	}
	return effect{verdict: stop, text: text, decides: true}
}
