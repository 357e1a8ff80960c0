// Package reconciler is the engine that makes a host match its documents.
//
// Everything that poplin owns on a node is an [Object]: a comparable value
// with a key and a line of text. What one service, pod, peer or the host
// itself asks for is a [Group] of objects; groups make a [State]. [Diff]
// compares two states and gives a [Plan]; a [Target] observes and applies
// the objects of its kinds; a [Loop] runs rounds of observe, diff, apply and
// verify over its targets in a fixed order.
//
// The package knows no netlink, no YAML and no gossip: those live in the
// targets and in the packages that compile documents to states.
package reconciler

// Kind says what sort of thing an object is. Kinds are ordered: an object
// depends only on objects of kinds before its own, or of its own kind, so a
// plan adds in this order and deletes in the reverse.
type Kind uint8

// The kinds in dependency order. The kinds of one target are contiguous
// where one transaction must hold them all (nftables: table, chain, element).
const (
	KindNamespace Kind = iota + 1
	KindLink
	KindSysctl
	KindAddress
	KindTunnel
	KindTunnelPeer
	KindWireGuard
	KindWireGuardPeer
	KindNeighbour
	KindFDBEntry
	KindRoute
	KindProxyNeighbour
	KindFile
	KindTable
	KindChain
	KindElement
)

var kindNames = [...]string{
	KindNamespace:      "namespace",
	KindLink:           "link",
	KindSysctl:         "sysctl",
	KindAddress:        "address",
	KindTunnel:         "tunnel",
	KindTunnelPeer:     "tunnel-peer",
	KindWireGuard:      "wireguard",
	KindWireGuardPeer:  "wireguard-peer",
	KindNeighbour:      "neighbour",
	KindFDBEntry:       "fdb",
	KindRoute:          "route",
	KindProxyNeighbour: "proxy-neighbour",
	KindFile:           "file",
	KindTable:          "table",
	KindChain:          "chain",
	KindElement:        "element",
}

// String returns the word that plans and their JSON form use for the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "unknown"
}

// Key identifies an object on its host. Keys are comparable structs of a type
// of their own per kind, so keys of different kinds never meet.
type Key any

// Object is one thing that this node owns. Implementations are comparable
// structs of plain values: two objects are the same exactly if they are ==.
type Object interface {
	Kind() Kind
	// Key identifies the object; what is not part of the key may change.
	Key() Key
	// Needs names the objects without which this one cannot be applied. An
	// operation is skipped when the operation on one of its needs failed,
	// or when one of them belongs to somebody else.
	Needs() []Key
	// String is the one text form, in plans, logs, goldens and the fake: the
	// line that an operator would type, without the verb. Every field of the
	// object shows in it, except those at their zero value.
	String() string
}

// Replacer is implemented by objects whose change is not always possible in
// place.
type Replacer interface {
	// Replaces reports whether turning before (same key) into the object
	// takes a deletion and a new start.
	Replaces(before Object) bool
}

// Maker is implemented by objects that bring others into being: these cannot
// be there without it.
type Maker interface {
	Makes() []Key
}
