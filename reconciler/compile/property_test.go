package compile

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/view"
)

// allInputs are the inputs of all scenarios, those before a change too.
func allInputs(t *testing.T) []Input {
	var out []Input
	for _, s := range loadScenarios(t) {
		out = append(out, s.input(t, false))
		if s.isChange() {
			out = append(out, s.input(t, true))
		}
	}
	return out
}

func TestCompileTwiceGivesTheSameGroups(t *testing.T) {
	for i, in := range allInputs(t) {
		compiler := New()
		first := slices.Collect(compiler.Compile(in).State.Groups())
		fork := compiler.Fork()
		for name, again := range map[string]*Compiler{"again": compiler, "in a fork": fork} {
			if got := slices.Collect(again.Compile(in).State.Groups()); !slices.Equal(got, first) {
				t.Errorf("input %d %s: %d groups, not the same pointers as the %d before", i, name, len(got), len(first))
			}
		}
		if fresh := New().Compile(in).State; formatState(fresh) != formatState(reconciler.NewState(first...)) {
			t.Errorf("input %d: a fresh compiler gives another state", i)
		}
	}
}

// kernel is an in-memory host. Routes are a target of their own, for those
// through the underlay need a link that is not poplin's.
func kernel() *reconciler.Engine {
	return reconciler.NewEngine(
		reconciler.NewMemory(reconciler.KindNamespace, reconciler.KindLink, reconciler.KindSysctl, reconciler.KindAddress),
		reconciler.NewMemory(reconciler.KindTunnel, reconciler.KindTunnelPeer),
		reconciler.NewMemory(reconciler.KindWireGuard, reconciler.KindWireGuardPeer),
		reconciler.NewMemory(reconciler.KindNeighbour, reconciler.KindFDBEntry, reconciler.KindRoute, reconciler.KindProxyNeighbour, reconciler.KindFile),
		reconciler.NewMemory(reconciler.KindTable, reconciler.KindChain, reconciler.KindElement),
	)
}

// TestStatesInRandomOrder takes one host through the states of all scenarios
// in any order, with one compiler that is now and then made anew, as by a
// restart.
func TestStatesInRandomOrder(t *testing.T) {
	inputs := allInputs(t)
	rapid.Check(t, func(t *rapid.T) {
		engine, compiler := kernel(), New()
		for range 6 {
			in := inputs[rapid.IntRange(0, len(inputs)-1).Draw(t, "input")]
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				compiler = New()
			}
			var compiled reconciler.State
			round := engine.Converge(t.Context(), func(o reconciler.Observation) (reconciler.Desired, error) {
				in.Observed = o.State
				compiled = compiler.Compile(in).State
				return reconciler.Desired{State: compiled, Cause: reconciler.CauseConfig, Complete: true}, nil
			})
			if !round.Settled() {
				t.Fatal(round.Err)
			}
			seen, err := engine.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if plan := reconciler.Diff(seen.State, compiled); len(plan) != 0 {
				t.Fatalf("left to do: %v", plan)
			}
			in.Observed = reconciler.State{}
			fresh := New().Compile(in).State
			if got, want := withoutSlots(compiled), withoutSlots(fresh); !slices.Equal(got, want) {
				t.Fatalf("the compiler's memory changes the result:\n%s\nfresh:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

var idOf = regexp.MustCompile(`(recall|sticky|stick)-[0-9]+-[0-9]+`)

// withoutSlots lists a state's objects with the number of each slot and id
// taken out, sorted.
func withoutSlots(s reconciler.State) []string {
	var out []string
	for g, o := range s.Objects() {
		if e, ok := o.(reconciler.Element); ok {
			e.Slot = 0
			o = e
		}
		out = append(out, g.Name+" "+g.Origin.String()+": "+idOf.ReplaceAllString(o.String(), "$1"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

const slotDocuments = `
apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: c}
spec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.20, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: still}
spec: {clusterIP: 10.96.0.21, selector: {app: web}, ports: [{port: 81}]}
`

// slotInput has eight pods elsewhere, of which some are ready.
func slotInput(t *testing.T) func(ready []int) Input {
	var documents strings.Builder
	documents.WriteString(slotDocuments)
	for i := range 8 {
		fmt.Fprintf(&documents, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p%d, labels: {app: web}}\nspec: {nodeName: node-2}\n", i)
	}
	config := parseDocuments(t, map[string]string{"all.yaml": documents.String()})
	host := parseHost(t, defaultHost)
	return func(ready []int) Input {
		peer := view.Peer{Name: "node-2", State: view.Alive, Backend: view.Backend{Kind: "udp"}, Underlay: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}
		for i := range 8 {
			peer.Pods = append(peer.Pods, view.Pod{
				Namespace: "default", Name: fmt.Sprintf("p%d", i),
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, 2, byte(i + 2)})}, Ready: slices.Contains(ready, i),
			})
		}
		self := view.Self{Name: "node-1", Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}}
		return Input{Config: config, Host: host, View: view.View{Self: self, Peers: []view.Peer{peer}}}
	}
}

// TestSlotsAreStable lets endpoints come and go: as many slots change as
// endpoints left, those that came are in new ones, and a restart changes
// none.
func TestSlotsAreStable(t *testing.T) {
	input := slotInput(t)
	subset := rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 0, 8, rapid.ID[int])
	rapid.Check(t, func(t *rapid.T) {
		compiler := New()
		before := []int{}
		state := compiler.Compile(input(before)).State
		for range 4 {
			ready := subset.Draw(t, "ready")
			next := compiler.Compile(input(ready)).State
			left, came := missing(before, ready), missing(ready, before)
			changed := 0
			for _, op := range reconciler.Diff(state, next) {
				if e, ok := op.Object().(reconciler.Element); ok && e.Set == reconciler.SetEndpoints && e.Port == 80 && op.Verb != reconciler.Add {
					if op.Verb == reconciler.Change {
						changed++
					}
				}
			}
			if changed > left {
				t.Fatalf("%v → %v: %d slots changed, %d left and %d came", before, ready, changed, left, came)
			}
			in := input(ready)
			in.Observed = reconciler.NewState(everything(next))
			if plan := reconciler.Diff(in.Observed, New().Compile(in).State); len(plan) != 0 {
				t.Fatalf("after a restart: %v", plan)
			}
			before, state = ready, next
		}
	})
}

// missing counts what of a is not in b.
func missing(a, b []int) int {
	n := 0
	for _, x := range a {
		if !slices.Contains(b, x) {
			n++
		}
	}
	return n
}

// everything is a state's objects as one group, as a host shows them.
func everything(s reconciler.State) *reconciler.Group {
	g := &reconciler.Group{Name: "observed"}
	for _, o := range s.Objects() {
		g.Objects = append(g.Objects, o)
	}
	return g
}

func TestOneServiceThatChangesLeavesTheOthersAlone(t *testing.T) {
	docs := func(port int) map[string]string {
		return map[string]string{
			"web.yaml":   slotDocuments,
			"other.yaml": fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {clusterIP: 10.96.0.99, selector: {app: web}, ports: [{port: %d}]}\n", port),
		}
	}
	in := slotInput(t)([]int{1, 2})
	parse := parserOf(t)
	compiler := New()
	in.Config = parse(docs(80))
	before := compiler.Compile(in).State
	in.Config = parse(docs(81))
	after := compiler.Compile(in).State
	for g := range after.Groups() {
		if same := before.Group(g.Name) == g; same == (g.Name == "service default/other") {
			t.Errorf("%s: the same pointer: %v", g.Name, same)
		}
	}
}
