package nft

import (
	"context"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

func TestEngineSettlesInOneRound(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	e := reconciler.NewEngine(x)
	want := reconciler.Desired{State: web(), Complete: true, Cause: reconciler.CauseConfig}
	round := func() reconciler.Round {
		t.Helper()
		r := e.Converge(context.Background(), func(reconciler.Observation) (reconciler.Desired, error) { return want, nil })
		if !r.Settled() {
			t.Fatalf("%v %v", r.Err, r.Conflicts)
		}
		return r
	}
	if r := round(); len(r.Plan) != want.State.Len() {
		t.Errorf("%d operations for %d objects", len(r.Plan), want.State.Len())
	}
	if r := round(); len(r.Plan) != 0 {
		t.Errorf("once more: %v", r.Plan)
	}
	n.run("nft delete element ip poplin services '{ 10.96.0.1 . tcp . 80 }'; nft add rule ip6 poplin output accept")
	for _, op := range round().Plan {
		if op.Cause != reconciler.CauseDrift {
			t.Errorf("%s because of %s", op, op.Cause)
		}
	}
	expect(t, n, x, want.State)
	want.State = reconciler.State{}
	round()
	if got := n.run("nft list ruleset"); got != "" {
		t.Errorf("left over: %s", got)
	}
}

// A daemon that starts anew knows of no endpoints elsewhere for a while.
func TestServicesAreReachedBeforeDesiredIsComplete(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podC, "c", podsC)
	engine := reconciler.NewEngine(w.target)
	round := func(state reconciler.State, complete bool) reconciler.Round {
		t.Helper()
		r := engine.Converge(context.Background(), func(reconciler.Observation) (reconciler.Desired, error) {
			return reconciler.Desired{State: state, Complete: complete, Cause: reconciler.CauseStart}, nil
		})
		if r.Err != nil || complete && !r.Settled() {
			t.Fatalf("%v, %d withheld", r.Err, r.Withheld)
		}
		return r
	}
	for name, change := range map[string]func(*service){
		"plain":  nil,
		"sticky": func(s *service) { s.affinity = time.Hour },
		"hash":   func(s *service) { s.hash = true },
		"local":  func(s *service) { s.outsideLocal = len(s.targets) > 0 },
		"restricted": func(s *service) {
			if len(s.targets) > 0 {
				s.sources = []string{[]string{"10.244.1.0/24", "fd24::/48"}[s.address.BitLen()/128]}
			}
		},
	} {
		round(w.desired(map[uint16][2][]string{1: {podsC[:1], podsC[1:]}}, change), true)
		none := w.desired(map[uint16][2][]string{1: {}}, change)
		round(none, false)
		for i := range families() {
			if got, err := w.podB.ask("tcp", vips[i], 1); err != nil || got != "c "+podsB[i] {
				t.Errorf("%s, %s, before desired is complete: %q, %v", name, ipv[i], got, err)
			}
		}
		round(none, true)
		for i := range families() {
			if got, err := w.podB.ask("tcp", vips[i], 1); err == nil {
				t.Errorf("%s, %s, without endpoints: %q", name, ipv[i], got)
			}
		}
	}
}
