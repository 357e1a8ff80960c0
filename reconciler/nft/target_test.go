package nft

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
)

func TestDiffOfAnyTwoStatesLeadsFromOneToTheOther(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	r := rand.New(rand.NewPCG(1, 2))
	states := []reconciler.State{{}}
	for range 12 {
		states = append(states, randomState(r))
	}
	for i := range 60 {
		want := states[r.IntN(len(states))]
		reach(t, x, want)
		expect(t, n, x, want)
		if i%3 == 0 { // as after a restart
			x = target(t, n)
		}
	}
}

func TestObserveGivesBackTheGroupsThatWereApplied(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	a := service{name: "a", address: netip.MustParseAddr("10.96.0.1"), protocol: reconciler.TCP, port: 80, targets: []netip.AddrPort{netip.MustParseAddrPort("10.244.1.2:80")}}
	b := a
	b.name, b.port = "b", 81
	want := state(host(map[reconciler.SetName][]string{reconciler.SetPodRanges: {"10.0.0.0/8", "10.244.0.0/16"}}), a, b)
	reach(t, x, want)
	same := func(names ...string) {
		t.Helper()
		got := observe(t, x).State
		for g := range want.Groups() {
			if (got.Group(g.Name) == g) != strings.Contains(strings.Join(names, ","), g.Name) {
				t.Errorf("group %q: %v", g.Name, got.Group(g.Name))
			}
		}
	}
	same("host", "chains", "service a", "service b")
	n.run(`nft delete element ip poplin services '{ 10.96.0.1 . tcp . 81 }'`)
	same("host", "chains", "service a")
	reach(t, x, want)
	same("host", "chains", "service a", "service b")
}

// A prefix inside another is not in the kernel, but has to come up when the
// outer one goes.
func TestPrefixesInsideOthers(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	with := func(list ...string) reconciler.State {
		return state(host(map[reconciler.SetName][]string{reconciler.SetMasqueradeExclude: list}))
	}
	for _, step := range []struct {
		prefixes []string
		listed   string
	}{
		{[]string{"10.244.0.0/16", "10.244.1.0/24"}, "10.244.0.0/16"},
		{[]string{"10.244.1.0/24"}, "10.244.1.0/24"},
		{[]string{"10.244.1.0/24", "10.244.2.0/24"}, "10.244.1.0/24, 10.244.2.0/24"},
		{[]string{"10.0.0.0/8", "10.244.1.0/24", "10.244.2.0/24"}, "10.0.0.0/8"},
		{[]string{"10.244.2.0/24", "10.244.3.0/24"}, "10.244.2.0/24, 10.244.3.0/24"},
	} {
		want := with(step.prefixes...)
		reach(t, x, want)
		if plan := reconciler.Diff(observe(t, x).State, want); len(plan) > 0 {
			t.Fatalf("%v: still to do: %v", step.prefixes, plan)
		}
		list := strings.Join(strings.Fields(n.run("nft list set ip poplin masquerade-exclude")), " ")
		if !strings.Contains(list, "{ "+step.listed+" }") {
			t.Fatalf("%v: %s", step.prefixes, list)
		}
	}
}

func TestDeletingWhatIsMissingAndAddingWhatIsThereIsSuccess(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	s := service{name: "a", address: netip.MustParseAddr("10.96.0.1"), protocol: reconciler.TCP, port: 80, targets: []netip.AddrPort{netip.MustParseAddrPort("10.244.1.2:80"), netip.MustParseAddrPort("10.244.1.3:80")}}
	full := state(host(nil), s)
	less := s
	less.targets = s.targets[:1]
	fewer := state(host(nil), less)
	reach(t, x, full)

	plan := reconciler.Diff(full, fewer)
	n.run(`nft delete element ip poplin endpoints '{ 10.96.0.1 . tcp . 80 . 0x00000001 }'`)
	if err := x.Apply(context.Background(), plan, fewer); err != nil {
		t.Fatal(err)
	}
	expect(t, n, x, fewer)

	plan = reconciler.Diff(fewer, full)
	if err := target(t, n).Apply(context.Background(), plan, full); err != nil {
		t.Fatal(err)
	}
	if err := x.Apply(context.Background(), plan, full); err != nil {
		t.Fatal(err)
	}
	expect(t, n, x, full)
}

// The engine leaves out deletions as long as it does not know everything.
func TestPlanThatWasCutDown(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	a := service{name: "a", address: netip.MustParseAddr("10.96.0.1"), protocol: reconciler.TCP, port: 80}
	b := a
	b.name, b.port = "b", 81
	both, before, after := state(host(nil), a, b), state(host(nil), a), state(host(nil), b)
	reach(t, x, before)
	var additions reconciler.Plan
	for _, op := range reconciler.Diff(observe(t, x).State, after) {
		if op.Verb == reconciler.Add {
			additions = append(additions, op)
		}
	}
	if err := x.Apply(context.Background(), additions, after); err != nil {
		t.Fatal(err)
	}
	expect(t, n, x, both)
}

func TestForeignTableIsAConflictAndStays(t *testing.T) {
	n := newNetns(t)
	n.run("nft add table ip poplin; nft add chain ip poplin mine; nft add set ip poplin services '{ type ipv4_addr; }'")
	before := n.run("nft -a list table ip poplin")
	x := target(t, n)
	o := observe(t, x)
	if len(o.Conflicts) != 1 || o.Conflicts[0].Key != (reconciler.TableKey{Family: reconciler.IPv4}) || o.State.Len() != 0 {
		t.Fatalf("observed %v", o)
	}
	want := state(host(nil))
	err := x.Apply(context.Background(), reconciler.Diff(o.State, want), want)
	if conflict := new(reconciler.ConflictError); !errors.As(err, &conflict) {
		t.Fatalf("applied: %v", err)
	}
	// What the engine does: the other family is served.
	var rest reconciler.Plan
	for _, op := range reconciler.Diff(o.State, want) {
		if familyOf(op.Object()) == reconciler.IPv6 {
			rest = append(rest, op)
		}
	}
	if err := x.Apply(context.Background(), rest, want); err != nil {
		t.Fatal(err)
	}
	n.run("nft list chain ip6 poplin " + markerName())
	if err := x.Cleanup(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := n.run("nft -a list table ip poplin"); got != before {
		t.Errorf("the foreign table became %s", got)
	}
	if got := n.run("nft list tables"); strings.Contains(got, "ip6") {
		t.Errorf("left over: %s", got)
	}
	// Out of the way, it is a conflict no more.
	n.run("nft delete table ip poplin")
	reach(t, x, want)
	expect(t, n, x, want)
}

// A foreign table that appears after the tables were read must survive, too.
func TestForeignTableThatAppearsMeanwhile(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	want := state(host(nil))
	plan := reconciler.Diff(observe(t, x).State, want)
	n.run("nft add table ip poplin; nft add chain ip poplin mine")
	err := x.Apply(context.Background(), plan, want)
	if conflict := new(reconciler.ConflictError); !errors.As(err, &conflict) {
		t.Fatalf("applied: %v", err)
	}
	n.run("nft list chain ip poplin mine")
}

func TestNonsenseIsRefusedBeforeAnythingIsSent(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	good := markedTable(reconciler.IPv4)
	bad := reconciler.Element{Family: reconciler.IPv4, Set: "nonsense"}
	want := reconciler.NewState(&reconciler.Group{Name: "a", Objects: []reconciler.Object{good, bad}})
	err := x.Apply(context.Background(), reconciler.Diff(observe(t, x).State, want), want)
	if op := new(reconciler.OpError); !errors.As(err, &op) || op.Op.After != bad {
		t.Errorf("applied: %v", err)
	}
	if got := n.run("nft list ruleset"); got != "" {
		t.Errorf("there is %s", got)
	}
}

// See split: a packet may find the elements of a commit, but not its chains.
func TestChainsComeBeforeWhatLeadsToThem(t *testing.T) {
	before, after := many(2, 3), many(2, 5)
	steps := split(reconciler.Diff(before, after), before, after)
	if len(steps) != 4 {
		t.Fatalf("%d transactions", len(steps))
	}
	for i, want := range []struct{ chains, sets, remove int }{{1, 0, 0}, {0, 3, 0}, {0, 1, 0}, {0, 0, 1}} {
		if x := steps[i]; len(x.chains) != want.chains || len(x.sets) != want.sets || len(x.remove) != want.remove {
			t.Errorf("transaction %d: %d chains made, %d sets touched, %d chains deleted; want %v", i, len(x.chains), len(x.sets), len(x.remove), want)
		}
	}
}

// In between every frontend has to find the chain for its number.
func TestNumbersAreThereForAllTransactions(t *testing.T) {
	before, after := many(4000, 5), many(4000, 9)
	steps := split(reconciler.Diff(before, after), before, after)
	picks := tableSet{reconciler.IPv4, reconciler.SetPicks}
	var made, gone []int
	for i, x := range steps {
		if s := x.sets[picks]; s != nil && len(s.add) > 0 {
			made = append(made, i)
		}
		if s := x.sets[picks]; s != nil && len(s.remove) > 0 {
			gone = append(gone, i)
		}
	}
	if len(steps) < 5 || !slices.Equal(made, []int{1}) || !slices.Equal(gone, []int{len(steps) - 2}) {
		t.Errorf("of %d transactions, %v add numbers and %v delete them", len(steps), made, gone)
	}
}

func TestLargePlanIsCutUp(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	want := many(4000, 5)
	if steps := split(reconciler.Diff(reconciler.State{}, want), reconciler.State{}, want); len(steps) != 2 {
		t.Errorf("%d transactions", len(steps))
	}
	reach(t, x, want)
	expect(t, n, x, want)
}
