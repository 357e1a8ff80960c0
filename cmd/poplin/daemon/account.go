package daemon

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler"
)

// account is what happened, for status. It may be used by any goroutine.
type account struct {
	mu sync.Mutex
	accountState
}

// accountState is what an account holds.
type accountState struct {
	facts     facts
	goal      goal
	waiting   string
	rounds    int
	drift     int
	lastDrift *api.Drift
	lastApply *api.Apply
	applied   *time.Time
	last      reconciler.Round
	settled   string // digest of the revision that the host matches
	reacted   string // digest of the last one that a plan was carried out for
}

// read returns a copy.
func (a *account) read() accountState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.accountState
}

// waitFor says what the daemon waits for before it can compute anything.
func (a *account) waitFor(what string) {
	a.mu.Lock()
	a.waiting = what
	a.mu.Unlock()
}

// computed keeps the goal of a round.
func (a *account) computed(f facts, g goal) {
	a.mu.Lock()
	a.facts, a.goal, a.waiting = f, g, g.waiting
	a.mu.Unlock()
}

// done keeps the outcome of a round, and returns what the daemon waits for.
func (a *account) done(r reconciler.Round) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rounds++
	a.last = r
	a.settled = ""
	if r.Settled() && a.waiting == "" {
		a.settled = a.facts.revision.Digest
	}
	for _, op := range r.Plan {
		if op.Cause == reconciler.CauseDrift && r.Err == nil {
			a.drift++
			a.lastDrift = &api.Drift{What: op.Object().String(), At: r.Started}
		}
	}
	if len(r.Plan) > 0 || r.Err != nil {
		a.lastApply = applyOf(r, a.facts)
		if took := a.reaction(r); took > 0 {
			a.lastApply.Reaction = took.String()
		}
	}
	if r.Err == nil {
		now := r.Started.Add(r.Took)
		if a.applied == nil || len(r.Plan) > 0 {
			a.applied = &now
		}
	}
	return a.waiting
}

// reaction is how long it took from the snapshot of a revision until the first
// plan for it was carried out; 0 for other plans.
func (a *account) reaction(r reconciler.Round) time.Duration {
	f := a.facts.revision
	if f == nil || f.Offered.IsZero() || r.Applied.IsZero() || f.Digest == a.reacted {
		return 0
	}
	if cause := r.Plan[0].Cause; cause != reconciler.CauseConfig && cause != reconciler.CauseStart {
		return 0
	}
	a.reacted = f.Digest
	return r.Applied.Sub(f.Offered)
}

func applyOf(r reconciler.Round, f facts) *api.Apply {
	s := r.Plan.Summary(r.Desired.State)
	out := &api.Apply{At: r.Started, Add: s.Add, Change: s.Change, Delete: s.Delete, Cause: string(r.Desired.Cause), Took: r.Took.String()}
	if f.revision != nil {
		out.Revision = f.revision.ID
	}
	if len(r.Plan) > 0 {
		out.Cause = string(r.Plan[0].Cause)
	}
	if r.Err != nil {
		out.Error = r.Err.Error()
	}
	return out
}

// firstLines shortens a joined error to its first ten lines.
func firstLines(err error) string {
	lines := strings.Split(err.Error(), "\n")
	if n := len(lines) - 10; n > 0 {
		lines = append(lines[:10], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(lines, "; ")
}
