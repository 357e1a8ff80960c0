package linux_test

import (
	"testing"

	"github.com/poplin-net/poplin/reconciler"
)

func TestApplyThenObserve(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.wantState(t)
	round := n.settle(t, example()...)
	if len(round.Plan) != len(example()) {
		t.Errorf("one pass should do: %v", round.Plan)
	}
	if round := n.converge(t, example()...); len(round.Plan) != 0 {
		t.Errorf("second round: %v", round.Plan)
	}
	// Another process finds the same.
	again := reopen(t, n.options)
	again.wantState(t, example()...)
	// Adding what is there is success.
	var adds reconciler.Plan
	for _, o := range example() {
		adds = append(adds, reconciler.Op{Verb: reconciler.Add, After: o})
	}
	must(t, again.Apply(t.Context(), adds, stateOf(example()...)))
	again.wantState(t, example()...)
	again.settle(t)
	// Deleting what is missing is success.
	var deletes reconciler.Plan
	for _, o := range example() {
		deletes = append(deletes, reconciler.Op{Verb: reconciler.Delete, Before: o})
	}
	must(t, again.Apply(t.Context(), deletes, reconciler.State{}))
}
