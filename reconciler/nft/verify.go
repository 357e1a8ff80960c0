package nft

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// readChains checks the skeleton's chains and returns the expected rules of
// every chain by its name. Unknown chains are damage; pick chains are left to
// readRules.
func (r *reader) readChains() (map[string][]rule, error) {
	want := map[string]chain{}
	rules := map[string][]rule{}
	for _, c := range skeleton(r.family) {
		want[c.name] = c
	}
	var stray []string
	for m, err := range r.dump(unix.NFT_MSG_GETCHAIN) {
		if err != nil {
			return nil, fmt.Errorf("chains of family %s: %w", r.family, err)
		}
		if table, _ := find(m, unix.NFTA_CHAIN_TABLE); table.text() != tableName {
			continue
		}
		a, _ := find(m, unix.NFTA_CHAIN_NAME)
		name := a.text()
		if version, ok := markerVersion(name); ok {
			r.found.version = max(version, r.found.version)
		}
		if c, ok := want[name]; ok {
			if !c.hook.describes(m) {
				r.damaged("chain %s is attached elsewhere", name)
			}
			rules[name] = c.rules
		} else if c, ok := pickChain(r.family, name); ok && (*hook)(nil).describes(m) {
			rules[name] = chainRules(c)
			r.found.chains = append(r.found.chains, c)
		} else {
			stray = append(stray, name)
		}
	}
	if len(stray) > 0 {
		r.damaged("chain %s is not poplin's", stray[0])
	}
	for name := range want {
		if _, ok := rules[name]; !ok {
			r.damaged("chain %s is missing", name)
		}
	}
	return rules, nil
}

// describes reports whether the kernel's description of a chain is attached
// as h says; a nil hook is that of a chain that is only jumped to.
func (h *hook) describes(m []byte) bool {
	attached, isBase := find(m, unix.NFTA_CHAIN_HOOK)
	if h == nil || !isBase {
		return h == nil && !isBase
	}
	number, _ := find(attached.data, unix.NFTA_HOOK_HOOKNUM)
	priority, _ := find(attached.data, unix.NFTA_HOOK_PRIORITY)
	kind, _ := find(m, unix.NFTA_CHAIN_TYPE)
	policy, _ := find(m, unix.NFTA_CHAIN_POLICY)
	return number.uint32() == uint32(*h.number) && int32(priority.uint32()) == int32(*h.priority) &&
		kind.text() == string(h.kind) && policy.uint32() == uint32(nftables.ChainPolicyAccept)
}

// readRules compares the rules of every chain with those it should have. A
// chain that differs is damage, but a pick chain that is wanted only counts
// as missing: adding it writes its rules anew in place.
func (r *reader) readRules(want map[string][]rule) error {
	have := map[string][][]rawExpression{}
	for m, err := range r.dump(unix.NFT_MSG_GETRULE, stringAttribute(unix.NFTA_RULE_TABLE, tableName)) {
		if err != nil {
			return fmt.Errorf("rules of table %s %s: %w", r.family, tableName, err)
		}
		name, _ := find(m, unix.NFTA_RULE_CHAIN)
		list, _ := find(m, unix.NFTA_RULE_EXPRESSIONS)
		have[name.text()] = append(have[name.text()], parseExpressions(list.data))
	}
	for _, c := range skeleton(r.family) {
		if i, same := sameRules(byte(family(r.family)), have[c.name], c.rules); !same {
			r.damaged("chain %s differs at rule %d", c.name, i+1)
		}
	}
	kept := r.found.chains[:0]
	for _, c := range r.found.chains {
		if _, same := sameRules(byte(family(r.family)), have[c.Name()], want[c.Name()]); same {
			kept = append(kept, c)
		} else if !r.wanted[c] {
			r.damaged("chain %s is not poplin's", c.Name())
		}
	}
	r.found.chains = kept
	return nil
}

// rawExpression is an expression as the kernel gives it.
type rawExpression struct {
	name string
	data []byte
}

func parseExpressions(b []byte) []rawExpression {
	var out []rawExpression
	for a := range attributes(b) {
		name, _ := find(a.data, unix.NFTA_EXPR_NAME)
		data, _ := find(a.data, unix.NFTA_EXPR_DATA)
		out = append(out, rawExpression{name.text(), data.data})
	}
	return out
}

// sameRules compares rules of a chain; where they differ, at is the index of
// the first that does.
func sameRules(f byte, have [][]rawExpression, want []rule) (at int, same bool) {
	for i := range want {
		if i >= len(have) || !sameExpressions(f, have[i], want[i]) {
			return i, false
		}
	}
	return len(want), len(have) == len(want)
}

func sameExpressions(f byte, have []rawExpression, want rule) bool {
	if len(have) != len(want) {
		return false
	}
	for i, e := range want {
		name, data, err := marshal(f, e)
		if err != nil || name != have[i].name {
			return false
		}
		// Read the kernel's form into the same type and write it back: the
		// order of attributes and those at their default fall away.
		again := reflect.New(reflect.TypeOf(e).Elem()).Interface().(expr.Any)
		if err := expr.Unmarshal(f, have[i].data, again); err != nil {
			return false
		}
		if _, normal, err := marshal(f, again); err != nil || !bytes.Equal(normal, data) {
			return false
		}
	}
	return true
}

// marshal gives an expression's name and attributes.
func marshal(f byte, e expr.Any) (name string, data []byte, err error) {
	b, err := expr.Marshal(f, e)
	if err != nil {
		return "", nil, err
	}
	n, _ := find(b, unix.NFTA_EXPR_NAME)
	d, _ := find(b, unix.NFTA_EXPR_DATA)
	return n.text(), d.data, nil
}

// markedTable is the table object that a family should have.
func markedTable(f reconciler.Family) reconciler.Table {
	return reconciler.Table{Family: f, Version: reconciler.SkeletonVersion}
}
