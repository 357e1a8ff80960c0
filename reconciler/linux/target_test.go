package linux_test

import (
	"os/exec"
	"strings"
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
	talks(t)
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

// talks checks what the objects do not say of a host: that the pod reaches
// it at once, and that no route is there beside ours.
func talks(t *testing.T) {
	t.Helper()
	for _, to := range []string{"10.244.1.1", "fd00:1::1"} {
		if out, err := exec.Command("ip", "netns", "exec", podNS, "ping", "-c1", "-W2", to).CombinedOutput(); err != nil {
			t.Errorf("ping %s: %v: %s", to, err, out)
		}
	}
	for _, where := range []string{"", "-n " + podNS + " "} {
		routes := ip(t, where+"route show proto kernel") + ip(t, where+"-6 route show proto kernel")
		for line := range strings.Lines(routes) {
			if !strings.HasPrefix(line, "fe80::/64 ") {
				t.Errorf("the kernel added a route: %s", line)
			}
		}
	}
}
