package reconciler

import (
	"fmt"
	"strconv"
	"strings"
)

// Method is what a chain does with a new connection to a frontend.
type Method string

// The methods. Slots are numbered from 0, or from LocalSlots in local chains;
// ids from FirstID or FirstLocalID.
const (
	// MethodPick sends it to one of the frontend's slots, drawn at random with
	// equal chances.
	MethodPick Method = ""
	// MethodRange is MethodPick for frontends that are a range of ports.
	MethodRange Method = "range"
	// MethodHash sends it to one of the slots that its client's address says.
	MethodHash Method = "hash"
	// MethodRecall sends it to the endpoint that its client sticks to, if the
	// client does: one of the ids below ID. Else it returns.
	MethodRecall Method = "recall"
	// MethodSticky recalls, else draws one of the slots and goes to the stick
	// chain of its endpoint.
	MethodSticky Method = "sticky"
	// MethodStick notes that the client sticks to the endpoint ID, and sends
	// it there.
	MethodStick Method = "stick"
)

// LocalSlots is the number of the first slot that stands for an endpoint of
// this node, of frontends that send clients from outside to no other.
const LocalSlots = 1 << 16

// FirstID is the number of the first slot that stands for an endpoint for as
// long as the endpoint is there, whatever its other slots are; FirstLocalID
// that of frontends that send clients from outside to no other.
const (
	FirstID      = 1 << 31
	FirstLocalID = FirstID + 1<<30
)

// Chain is a chain that says to which endpoint of a frontend a new connection
// goes.
type Chain struct {
	Family Family
	Method Method
	// NodePort chains look slots up by node port, the others by address.
	NodePort bool
	// Local chains know the slots that stand for endpoints of this node.
	Local bool
	Slots int // of pick, range, hash and sticky chains
	// Timeout is for how many seconds a client sticks to an endpoint without
	// use; of recall, sticky and stick chains.
	Timeout int
	ID      int // of recall, sticky and stick chains; see there
}

// ChainKey identifies a Chain.
type ChainKey struct {
	Family Family
	Name   string
}

// Name gives the chain's name in its table: pick-3, node-port-local-pick-3,
// range-3, hash-1021, recall-10800-8, sticky-10800-8-3, stick-10800-0.
func (c Chain) Name() string {
	name := fmt.Sprintf("pick-%d", c.Slots)
	switch c.Method {
	case MethodHash, MethodRange:
		name = fmt.Sprintf("%s-%d", c.Method, c.Slots)
	case MethodRecall, MethodStick:
		name = fmt.Sprintf("%s-%d-%d", c.Method, c.Timeout, c.ID)
	case MethodSticky:
		name = fmt.Sprintf("%s-%d-%d-%d", c.Method, c.Timeout, c.ID, c.Slots)
	}
	if c.Local {
		name = "local-" + name
	}
	if c.NodePort {
		name = "node-port-" + name
	}
	return name
}

// NumberOf gives the number that stands for a chain in the map services: that
// of its slots for a pick chain that looks slots up by address, and 0 for
// ChainRefuse. ok is false for chains that have none.
func NumberOf(chain string) (number uint32, ok bool) {
	n, _ := strconv.ParseUint(strings.TrimPrefix(chain, "pick-"), 10, 32)
	return uint32(n), chain == ChainOf(uint32(n))
}

// ChainOf is the opposite of NumberOf.
func ChainOf(number uint32) (chain string) {
	if number == 0 {
		return ChainRefuse
	}
	return fmt.Sprintf("pick-%d", number)
}

// Recall is the recall chain that a sticky chain begins with.
func (c Chain) Recall() Chain {
	c.Method, c.Slots = MethodRecall, 0
	return c
}

func (c Chain) Kind() Kind { return KindChain }
func (c Chain) Key() Key   { return ChainKey{c.Family, c.Name()} }

func (c Chain) Needs() []Key {
	needs := []Key{TableKey{c.Family}}
	if c.Method == MethodSticky {
		needs = append(needs, c.Recall().Key())
	}
	return needs
}

func (c Chain) String() string { return fmt.Sprintf("chain %s poplin %s", c.Family, c.Name()) }

// The chains of the skeleton that elements send packets to.
const (
	// ChainRefuse rejects a packet: a TCP reset, or ICMP port unreachable.
	// Frontends without endpoints go there.
	ChainRefuse = "refuse"
	// ChainDiscard drops a packet. Frontends go there whose endpoints are all
	// on other nodes, while a traffic policy wants one of this node.
	ChainDiscard = "discard"
	// ChainExternal asks where the client is: one from outside goes where
	// outside-services says, pods and this host where inside-services says.
	ChainExternal = "external"
	// ChainNodePortExternal is the same for node ports.
	ChainNodePortExternal = "node-port-external"
	// ChainRestricted lets clients through to ChainExternal that
	// source-ranges has for their frontend, and drops others.
	ChainRestricted = "restricted"
	// ChainNodePortRestricted is the same for node ports.
	ChainNodePortRestricted = "node-port-restricted"
	// ChainMasqueradeAll gives a connection this node's address.
	ChainMasqueradeAll = "masquerade-all"
	// ChainMasqueradeInside does so only for pods and this host: a client
	// from outside goes to endpoints of this node, and keeps its address.
	ChainMasqueradeInside = "masquerade-inside"
	// ChainGuardPort lets peers through to a port of this node, and drops what
	// others send there.
	ChainGuardPort = "guard-port"
	// ChainGuardTunnel lets through what comes from a peer's subnet, and drops
	// all else.
	ChainGuardTunnel = "guard-tunnel"
	// ChainGuardDirect drops what comes from the pod ranges but from no peer's
	// subnet.
	ChainGuardDirect = "guard-direct"
	// ChainGuardPods drops what comes from the pod ranges.
	ChainGuardPods = "guard-pods"
)
