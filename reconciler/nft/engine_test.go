package nft

import (
	"context"
	"testing"

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
