package nft

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables/expr"

	"github.com/poplin-net/poplin/reconciler"
)

// resultWord is the first register that a key does not need: that of the
// affinity in IPv6 takes eleven words, and the endpoint the other five.
const resultWord = 11

// frontendKey is how the rules of a chain look a frontend up.
type frontendKey struct {
	values                      []value
	endpoints, sticky, affinity reconciler.SetName
	connections                 reconciler.SetName
}

func keyOf(c reconciler.Chain) frontendKey {
	if c.NodePort {
		return frontendKey{[]value{protocol(), port()},
			reconciler.SetNodePortEndpoints, reconciler.SetNodePortSticky, reconciler.SetNodePortAffinity, reconciler.SetNodePortConnections}
	}
	return frontendKey{[]value{destination(c.Family), protocol(), port()},
		reconciler.SetEndpoints, reconciler.SetSticky, reconciler.SetAffinity, reconciler.SetConnections}
}

// with is the frontend and further values, side by side.
func (k frontendKey) with(values ...value) []value {
	return append(k.values[:len(k.values):len(k.values)], values...)
}

// count counts a connection. It is the first rule of every chain that a
// frontend goes to; those chains that chains jump or go to count no more.
func (k frontendKey) count() rule { return in(k.connections, k.values...) }

// firsts are the numbers of the first slot and the first id of a chain.
func firsts(c reconciler.Chain) (slot, id uint32) {
	if c.Local {
		return reconciler.LocalSlots, reconciler.FirstLocalID
	}
	return 0, reconciler.FirstID
}

// chainRules give the rules of a chain.
func chainRules(c reconciler.Chain) []rule {
	switch c.Method {
	case reconciler.MethodRange:
		return rangeRules(c)
	case reconciler.MethodHash:
		return hashRules(c)
	case reconciler.MethodRecall:
		return recallRules(c)
	case reconciler.MethodSticky:
		return stickyRules(c)
	case reconciler.MethodStick:
		return stickRules(c)
	}
	return pickRules(c)
}

// pickRules send a connection to one of the slots of its frontend. Between
// the lookup of the chain and that of the slot a commit may have taken the
// slot away; the first slot is the last to go. If it is gone too, the
// client's next try is another connection. The packet's priority, which has
// led to the chain, is taken away again.
func pickRules(c reconciler.Chain) []rule {
	key := keyOf(c)
	first, _ := firsts(c)
	slot := func(n int) rule {
		return translate(c.Family, key.endpoints, key.with(random(n, first))...)
	}
	out := []rule{key.count(), slot(c.Slots), slot(1), drop()}
	if _, numbered := reconciler.NumberOf(c.Name()); numbered {
		out = slices.Insert(out, 0, setPriority(load(number(0))))
	}
	return out
}

// rangeRules are those of pickRules, with endpoints that have no port: that of
// the packet is kept.
func rangeRules(c reconciler.Chain) []rule {
	slot := func(n int) rule {
		return join(
			endpoint(reconciler.SetRangeEndpoints, 0, destination(c.Family), protocol(), random(n, 0)),
			rule{&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family(c.Family)), RegAddrMin: register(0), RegAddrMax: register(0)}})
	}
	return []rule{in(reconciler.SetRangeConnections, destination(c.Family), protocol(), port()), slot(c.Slots), slot(1), drop()}
}

// hashRules are those of pickRules, but for which slot. All slots of a hash
// chain are there as long as one is, so that nothing can go wrong between.
func hashRules(c reconciler.Chain) []rule {
	key := keyOf(c)
	first, _ := firsts(c)
	return []rule{
		key.count(),
		hashed(c, key, first),
		translate(c.Family, key.endpoints, key.with(random(1, first))...),
		drop(),
	}
}

// hashSeed is the same on every node, in every release.
const hashSeed = 0x706f706c

// hashed sends the connection to the slot that its source address says.
func hashed(c reconciler.Chain, key frontendKey, first uint32) rule {
	word := 0
	for _, v := range key.values {
		word += v.words
	}
	return join(
		load(key.values...),
		rule{
			source(c.Family).load(register(resultWord)),
			&expr.Hash{SourceRegister: register(resultWord), DestRegister: register(word), Length: uint32(addressLength(c.Family)),
				Modulus: uint32(c.Slots), Offset: first, Seed: hashSeed, Type: expr.HashTypeJenkins},
			&expr.Lookup{SourceRegister: register(0), SetName: string(key.endpoints), IsDestRegSet: true, DestRegister: register(0)},
		},
		destinationNAT(c.Family, 0))
}

// stickyRules are those of pickRules for clients that stick to no endpoint.
func stickyRules(c reconciler.Chain) []rule {
	key := keyOf(c)
	first, _ := firsts(c)
	slot := func(n int) rule { return vmap(key.sticky, key.with(random(n, first))...) }
	return []rule{key.count(), jump(c.Recall().Name()), slot(c.Slots), slot(1), drop()}
}

// recallRules try one id after another: is there such an endpoint, and does
// the client stick to it? Then it does for another while. The endpoint comes
// first, so that nobody is sent to one that is gone. An id in a lookup is a
// number drawn out of one: nft prints a constant there as "[invalid type]",
// though not where a set is filled.
func recallRules(c reconciler.Chain) []rule {
	key := keyOf(c)
	_, first := firsts(c)
	var out []rule
	for i := range c.ID {
		id := random(1, first+uint32(i))
		out = append(out, join(
			endpoint(key.endpoints, resultWord, key.with(id)...),
			in(key.affinity, key.with(source(c.Family), id)...),
			refresh(key.affinity, timeout(c), key.with(source(c.Family), number(first+uint32(i)))...),
			destinationNAT(c.Family, resultWord)))
	}
	return out
}

// stickRules note an endpoint for a client and send it there. Where the set
// is full, the second rule still counts.
func stickRules(c reconciler.Chain) []rule {
	key := keyOf(c)
	_, first := firsts(c)
	return []rule{
		refresh(key.affinity, timeout(c), key.with(source(c.Family), number(first+uint32(c.ID)))...),
		translate(c.Family, key.endpoints, key.with(random(1, first+uint32(c.ID)))...),
		drop(),
	}
}

// jumps is 1 for chains that jump to others.
func jumps(c reconciler.Chain) int {
	if c.Method == reconciler.MethodSticky {
		return 1
	}
	return 0
}

// pickChain reads the name of a chain that says where connections go; ok is
// false for any other name.
func pickChain(f reconciler.Family, name string) (c reconciler.Chain, ok bool) {
	c.Family = f
	rest := name
	if cut, found := strings.CutPrefix(rest, "node-port-"); found {
		c.NodePort, rest = true, cut
	}
	if cut, found := strings.CutPrefix(rest, "local-"); found {
		c.Local, rest = true, cut
	}
	word, rest, _ := strings.Cut(rest, "-")
	var n []int
	for digits := range strings.SplitSeq(rest, "-") {
		i, err := strconv.ParseUint(digits, 10, 31)
		if err != nil {
			return c, false
		}
		n = append(n, int(i))
	}
	switch method := reconciler.Method(word); {
	case word == "pick" && len(n) == 1:
		c.Slots = n[0]
		ok = c.Slots > 0
	case method == reconciler.MethodRange && len(n) == 1:
		c.Method, c.Slots = method, n[0]
		ok = c.Slots > 0 && !c.NodePort && !c.Local
	case method == reconciler.MethodHash && len(n) == 1:
		c.Method, c.Slots = method, n[0]
		ok = c.Slots > 0
	case method == reconciler.MethodSticky && len(n) == 3:
		c.Method, c.Timeout, c.ID, c.Slots = method, n[0], n[1], n[2]
		ok = c.Timeout > 0 && c.ID > 0 && c.Slots > 0
	case method == reconciler.MethodRecall && len(n) == 2:
		c.Method, c.Timeout, c.ID = method, n[0], n[1]
		ok = c.Timeout > 0 && c.ID > 0
	case method == reconciler.MethodStick && len(n) == 2:
		c.Method, c.Timeout, c.ID = method, n[0], n[1]
		ok = c.Timeout > 0
	}
	return c, ok && c.Name() == name
}

// timeout is how long a client sticks to an endpoint.
func timeout(c reconciler.Chain) time.Duration { return time.Duration(c.Timeout) * time.Second }
