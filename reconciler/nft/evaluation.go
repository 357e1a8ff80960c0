package nft

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// registerBytes is the size of all registers together.
const registerBytes = 64

// deepest is how many jumps may be open at once: NFT_JUMP_STACK_SIZE.
const deepest = 16

// evaluation is one run of a packet through the rules. What it does follows
// net/netfilter/nf_tables_core.c and the nft_*.c beside it (Linux 6.18).
type evaluation struct {
	rules  *Ruleset
	route  func(netip.Addr) Hop
	random func(of uint32) uint32

	original Packet
	packet   Packet // as it is now
	way      Way
	hook     string
	// redirected packets are for this host, whatever their address.
	redirected bool
	priority   [4]byte // of the packet, as it is in a register

	// Of the rule that is being run.
	registers [registerBytes]byte
	step      Step
}

// verdict is how a rule or a chain ends.
type verdict uint8

const (
	next    verdict = iota // the rule matched so far, or the chain goes on
	nomatch                // the rule does not match
	accept                 // no more chains of this hook and base chain
	stop                   // the packet is gone: way.Outcome says how
	toChain                // jump or goto
	back                   // return
)

// effect is what an expression does besides to registers.
type effect struct {
	verdict verdict
	chain   string // of toChain
	stay    bool   // toChain is a jump, which comes back
	text    string // for Step.Verdict
	decides bool   // for Step.Decides
}

// run takes the packet through the hooks of its way.
func (e *evaluation) run() (Way, error) {
	arrival := nftables.ChainHookPrerouting
	if e.packet.Sent {
		arrival = nftables.ChainHookOutput
		if e.way.Hop = e.route(e.packet.Destination.Addr()); e.way.Hop.Refused != "" {
			return e.end(Unrouted), nil
		}
	}
	if gone, err := e.runHook(arrival); gone || err != nil {
		return e.way, err
	}
	e.way.Hop = Hop{Local: true}
	if !e.redirected {
		e.way.Hop = e.route(e.packet.Destination.Addr())
	}
	if e.way.Hop.Refused != "" {
		return e.end(Unrouted), nil
	}
	var hooks []*nftables.ChainHook
	switch {
	case e.packet.Sent: // by way of the loopback link if it is local
		hooks = append(hooks, nftables.ChainHookPostrouting)
	case e.way.Hop.Local:
		hooks = append(hooks, nftables.ChainHookInput)
	default:
		hooks = append(hooks, nftables.ChainHookForward, nftables.ChainHookPostrouting)
	}
	for _, hook := range hooks {
		if gone, err := e.runHook(hook); gone || err != nil {
			return e.way, err
		}
	}
	if e.way.Hop.Local {
		return e.end(Delivered), nil
	}
	return e.end(Forwarded), nil
}

// end completes the way.
func (e *evaluation) end(o Outcome) Way {
	e.way.Outcome, e.way.Source, e.way.Destination = o, e.packet.Source, e.packet.Destination
	return e.way
}

var hookNames = [...]string{unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_LOCAL_IN: "input", unix.NF_INET_FORWARD: "forward",
	unix.NF_INET_LOCAL_OUT: "output", unix.NF_INET_POST_ROUTING: "postrouting"}

// runHook runs the chains of a hook; gone says that the packet ends there.
func (e *evaluation) runHook(number *nftables.ChainHook) (gone bool, err error) {
	e.hook = hookNames[*number]
	for _, c := range e.rules.base(*number) {
		v, err := e.runChain(c.name, 0)
		if err != nil || v == stop {
			return true, err
		}
	}
	return false, nil
}

// runChain runs a chain and those that it goes to. It ends with next, accept
// or stop.
func (e *evaluation) runChain(name string, depth int) (verdict, error) {
	rules, ok := e.rules.chains[name]
	if !ok || depth > deepest {
		return stop, fmt.Errorf("chain %s: missing, or too deep", name)
	}
	for i, r := range rules {
		done, err := e.runRule(name, r)
		if err != nil {
			return stop, fmt.Errorf("chain %s, rule %d: %w", name, i+1, err)
		}
		switch done.verdict {
		case accept, stop:
			return done.verdict, nil
		case back:
			return next, nil
		case toChain:
			v, err := e.runChain(done.chain, depth+1)
			if err != nil || v != next || !done.stay {
				return v, err
			}
		}
	}
	return next, nil
}

// runRule runs the expressions of a rule, and notes a step if it matches.
func (e *evaluation) runRule(chain string, r rule) (effect, error) {
	e.step = Step{Hook: e.hook, Chain: chain}
	var done effect
	for _, x := range r {
		var err error
		if done, err = e.expression(x); err != nil {
			return effect{}, err
		}
		if done.verdict == nomatch {
			return effect{}, nil
		}
		if done.verdict != next {
			break
		}
	}
	e.step.rule, e.step.Verdict, e.step.Decides = r, done.text, done.decides
	e.way.Steps = append(e.way.Steps, e.step)
	return done, nil
}

// expression runs one expression.
func (e *evaluation) expression(x expr.Any) (effect, error) {
	switch x := x.(type) {
	case *expr.Lookup:
		return e.lookup(x)
	case *expr.Dynset:
		return effect{}, nil // as if the set were not full
	case *expr.Counter:
		return effect{}, nil
	case *expr.Cmp:
		return e.compare(x)
	case *expr.Verdict:
		return e.verdict(x)
	case *expr.NAT:
		return e.translate(x)
	case *expr.Masq:
		return e.masquerade(), nil
	case *expr.Redir:
		return e.redirect(), nil
	case *expr.Reject:
		return e.reject(x), nil
	}
	return effect{}, e.load(x)
}

func (e *evaluation) verdict(x *expr.Verdict) (effect, error) {
	switch x.Kind {
	case expr.VerdictJump:
		return effect{verdict: toChain, chain: x.Chain, stay: true, text: "jump " + x.Chain}, nil
	case expr.VerdictGoto:
		return effect{verdict: toChain, chain: x.Chain, text: "goto " + x.Chain}, nil
	case expr.VerdictReturn:
		return effect{verdict: back, text: "return"}, nil
	case expr.VerdictAccept:
		return effect{verdict: accept, text: "accept"}, nil
	case expr.VerdictDrop:
		e.end(Dropped)
		return effect{verdict: stop, text: "drop", decides: true}, nil
	}
	return effect{}, fmt.Errorf("verdict %d is not known", x.Kind)
}

// lookup asks a set or map for what is in registers.
func (e *evaluation) lookup(x *expr.Lookup) (effect, error) {
	set, ok := e.rules.sets[reconciler.SetName(x.SetName)]
	if !ok {
		return effect{}, fmt.Errorf("set %s is not known", x.SetName)
	}
	at := offset(x.SourceRegister)
	found, there := set.find(e.registers[at : at+set.width(e.rules.family)])
	if there == x.Invert {
		return effect{verdict: nomatch}, nil
	}
	if there && set.layout.name != reconciler.SetPicks { // it belongs to no service
		e.step.Found = append(e.step.Found, found)
	}
	if !x.IsDestRegSet {
		return effect{}, nil
	}
	if set.layout.verdict() {
		return effect{verdict: toChain, chain: found.Element.Chain, text: "goto " + found.Element.Chain}, nil
	}
	copy(e.registers[offset(x.DestRegister):], encode(set.layout.value, found.Element))
	return effect{}, nil
}

func (e *evaluation) compare(x *expr.Cmp) (effect, error) {
	at := offset(x.Register)
	same := slices.Equal(e.registers[at:at+len(x.Data)], x.Data)
	switch x.Op {
	case expr.CmpOpEq, expr.CmpOpNeq:
		if same != (x.Op == expr.CmpOpEq) {
			return effect{verdict: nomatch}, nil
		}
		return effect{}, nil
	}
	return effect{}, fmt.Errorf("comparison %d is not known", x.Op)
}
