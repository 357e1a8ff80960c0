package nft

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// TestRuleText holds the text of every rule against what nft lists.
func TestRuleText(t *testing.T) {
	for _, f := range families() {
		listing, err := os.ReadFile("testdata/" + string(f) + ".nft")
		if err != nil {
			t.Fatal(err)
		}
		table, rules := NewRuleset(reconciler.State{}, f), map[string][]rule{}
		for _, c := range skeleton(f) {
			rules[c.name] = c.rules
		}
		var name string
		var want []string
		for line := range strings.Lines(string(listing)) {
			line = strings.TrimSpace(line)
			switch words := strings.Fields(line); {
			case strings.HasPrefix(line, "chain "):
				name, want = words[1], nil
			case line == "}" && name != "":
				have, ok := rules[name]
				if c, pick := pickChain(f, name); pick {
					have, ok = chainRules(c), true
				}
				if !ok || len(have) != len(want) {
					t.Errorf("chain %s: %d rules, listed are %d", name, len(have), len(want))
					break
				}
				for i, r := range have {
					if got := table.text(r); got != want[i] {
						t.Errorf("chain %s: %q, listed is %q", name, got, want[i])
					}
				}
				name = ""
			case name != "" && !strings.HasPrefix(line, "type "):
				want = append(want, line)
			}
		}
	}
}

// TestTheTracerKnowsEveryRule: the tracer would rather give up than guess, so
// nothing in the rules may be unknown to it.
func TestTheTracerKnowsEveryRule(t *testing.T) {
	for _, f := range families() {
		table, all := NewRuleset(reconciler.State{}, f), map[string][]rule{}
		for _, c := range skeleton(f) {
			all[c.name] = c.rules
		}
		for _, c := range chainsOfEveryMethod(f) {
			all[c.Name()] = chainRules(c)
		}
		for name, rules := range all {
			for i, r := range rules {
				e := newEvaluation(f)
				if strings.HasPrefix(table.text(r), "icmp") {
					e.packet.Protocol = unix.IPPROTO_ICMP
				}
				for _, x := range r {
					if _, err := e.expression(x); err != nil {
						t.Errorf("family %s, chain %s, rule %d, %T: %v", f, name, i+1, x, err)
					}
				}
			}
		}
	}
}

func chainsOfEveryMethod(f reconciler.Family) []reconciler.Chain {
	out := []reconciler.Chain{{Family: f, Method: reconciler.MethodRange, Slots: 2}}
	for _, c := range []reconciler.Chain{{Slots: 3}, {Method: reconciler.MethodHash, Slots: 101},
		{Method: reconciler.MethodSticky, Timeout: 60, ID: 2, Slots: 3}, {Method: reconciler.MethodRecall, Timeout: 60, ID: 2},
		{Method: reconciler.MethodStick, Timeout: 60, ID: 1}} {
		for i := range 4 {
			c.Family, c.NodePort, c.Local = f, i%2 == 1, i > 1
			out = append(out, c)
		}
	}
	return out
}

// newEvaluation has a packet of the family.
func newEvaluation(f reconciler.Family) *evaluation {
	i := 0
	if f == reconciler.IPv6 {
		i = 1
	}
	p := Packet{Protocol: reconciler.TCP, Source: address(podsA[i]), Destination: addressPort(vips[i], 80)}
	return &evaluation{
		rules: NewRuleset(reconciler.NewState(), f), original: p, packet: p,
		route: func(netip.Addr) Hop { return Hop{} }, random: func(uint32) uint32 { return 0 },
	}
}

func address(s string) netip.Addr { return netip.MustParseAddr(s) }

func addressPort(s string, port uint16) netip.AddrPort { return netip.AddrPortFrom(address(s), port) }
