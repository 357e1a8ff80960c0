package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// PacketQuery asks what becomes of the first packet of a connection.
type PacketQuery struct {
	// From is the sender: NAMESPACE/NAME of a pod, the name of a node, an
	// address, or "" for the node that is asked.
	From string
	To   PacketTarget
}

// PacketTarget is where a packet goes.
type PacketTarget struct {
	Address  netip.AddrPort
	Protocol string // tcp, udp, sctp, icmp; for icmp the port is 0
}

// ParsePacketTarget reads ADDRESS:PORT, ADDRESS:PORT/udp, [ADDRESS]:PORT/sctp;
// or ADDRESS alone for a ping.
func ParsePacketTarget(text string) (PacketTarget, error) {
	t := PacketTarget{Protocol: "tcp"}
	address, protocol, found := strings.Cut(text, "/")
	if found {
		t.Protocol = protocol
	}
	if a, err := netip.ParseAddr(address); err == nil && !found {
		t.Address, t.Protocol = netip.AddrPortFrom(a.Unmap(), 0), "icmp"
		return t, nil
	}
	var err error
	t.Address, err = netip.ParseAddrPort(address)
	if err != nil || t.Address.Port() == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, t.Protocol) {
		return t, fmt.Errorf("%q is not ADDRESS:PORT with /tcp, /udp or /sctp, nor an ADDRESS to ping", text)
	}
	t.Address = netip.AddrPortFrom(t.Address.Addr().Unmap(), t.Address.Port())
	return t, nil
}

// String gives the form that ParsePacketTarget reads.
func (t PacketTarget) String() string {
	if t.Protocol == "icmp" {
		return t.Address.Addr().String()
	}
	return t.Address.String() + "/" + t.Protocol
}

// PacketExplanation is what can become of a packet on a node.
type PacketExplanation struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"` // PacketExplanation
	Node       string    `json:"node"`
	From       PacketEnd `json:"from"`
	To         string    `json:"to"`
	// Steps are the rules that matched on every way.
	Steps []PacketStep `json:"steps"`
	// Ways end differently, the likeliest first.
	Ways  []PacketWay `json:"ways"`
	Notes []string    `json:"notes,omitempty"`
}

// PacketEnd is who has an address. Pod and Node are empty where that is not
// known: it is outside.
type PacketEnd struct {
	Address netip.Addr `json:"address"`
	Pod     string     `json:"pod,omitempty"`
	Node    string     `json:"node,omitempty"`
}

// PacketWay is one way that the packet can take.
type PacketWay struct {
	Share float64 `json:"share"` // of 1
	// Outcome: forwarded, delivered (to the host), refused, dropped, unrouted.
	Outcome string `json:"outcome"`
	// Reason says why the packet does not get further, or may not.
	Reason string `json:"reason,omitempty"`
	// Destination and Source are the packet's where this node is done with it.
	Destination netip.AddrPort `json:"destination"`
	Endpoint    PacketEnd      `json:"endpoint"`
	Translated  bool           `json:"translated"`
	Source      netip.Addr     `json:"source"`
	Masqueraded bool           `json:"masqueraded"`
	Link        string         `json:"link,omitempty"`
	Gateway     *netip.Addr    `json:"gateway,omitempty"`
	// Steps are the rules that matched beyond those of all ways.
	Steps []PacketStep `json:"steps,omitempty"`
}

// PacketStep is a rule that matched.
type PacketStep struct {
	Hook     string          `json:"hook"`
	Chain    string          `json:"chain"`
	Rule     string          `json:"rule"` // as nft lists it
	Verdict  string          `json:"verdict,omitempty"`
	Elements []PacketElement `json:"elements,omitempty"`
}

// PacketElement is an element that a rule found.
type PacketElement struct {
	Set    string `json:"set"`
	Key    string `json:"key"`
	Group  string `json:"group"` // what asks for it
	Origin Origin `json:"origin"`
}
