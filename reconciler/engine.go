package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Desired is what a round is to reach.
type Desired struct {
	State State
	// Cause is what made State differ from the last round's.
	Cause Cause
	// Complete says that everything which State is computed from is known.
	// Before that nothing is deleted or redirected.
	Complete bool
}

// Round is the account of one round.
type Round struct {
	Plan      Plan // what was needed
	Desired   Desired
	Conflicts []Conflict
	Withheld  int   // operations left out because Desired is not complete
	Err       error // joined; nil: the host matches, but for Withheld and Conflicts
	Started   time.Time
	Took      time.Duration
	// Applied is when the first pass had carried out its operations; zero
	// where there were none. What follows only makes sure.
	Applied time.Time
}

// Settled reports whether the host now has all that is desired and nothing
// else of ours.
func (r Round) Settled() bool { return r.Err == nil && r.Withheld == 0 && len(r.Conflicts) == 0 }

// maxPasses bounds how often a round observes and applies before it gives up
// until the next: making a link anew takes its addresses and routes with it,
// so a second pass is ordinary.
const maxPasses = 4

// Engine brings a list of targets to a desired state. It remembers the last
// desired state that was reached only to say why an operation is needed. It
// is used by one goroutine at a time.
type Engine struct {
	targets []Target
	shares  []*Share // of the targets, in their order
	last    State
	ran     bool
	// undone are the objects of last which were left as they were: what is
	// done about them later is no drift.
	undone map[Key]bool
}

// NewEngine makes an engine over targets, in the order of their kinds.
// Together they are responsible for each kind at most once.
func NewEngine(targets ...Target) *Engine {
	e := &Engine{targets: targets}
	for _, t := range targets {
		e.shares = append(e.shares, NewShare(t.Kinds()...))
	}
	return e
}

// Observe reads all targets.
func (e *Engine) Observe(ctx context.Context) (Observation, error) {
	return Observe(ctx, e.targets...)
}

// Observe joins what several observers see.
func Observe[O Observer](ctx context.Context, observers ...O) (Observation, error) {
	var all Observation
	states := make([]State, 0, len(observers))
	for _, o := range observers {
		seen, err := o.Observe(ctx)
		if err != nil {
			return Observation{}, fmt.Errorf("observing %v: %w", o.Kinds(), err)
		}
		states = append(states, seen.State)
		all.Conflicts = append(all.Conflicts, seen.Conflicts...)
	}
	all.State = Join(states...)
	return all, nil
}

// Plan is what a round would do now, without doing it.
func (e *Engine) Plan(observed Observation, desired Desired) Plan {
	plan := Diff(observed.State, desired.State)
	plan = Attribute(plan, e.last, desired.State, desired.Cause, !e.ran)
	for i := range plan {
		if op := &plan[i]; op.Cause == CauseDrift && e.undone[op.Object().Key()] {
			op.Cause = desired.Cause
		}
	}
	return plan
}

// Converge runs one round: observe, plan, apply, and the same again until
// nothing is left to do or nothing gets better. desire is called once, with
// the first observation.
func (e *Engine) Converge(ctx context.Context, desire func(Observation) (Desired, error)) (round Round) {
	round.Started = time.Now()
	defer func() { round.Took = time.Since(round.Started) }()
	observed, err := e.Observe(ctx)
	if err == nil {
		round.Desired, err = desire(observed)
	}
	if err != nil {
		round.Err = err
		return round
	}
	var left Plan
	for pass := 1; ; pass++ {
		plan := e.Plan(observed, round.Desired)
		doable, withheld := withhold(plan, round.Desired.Complete)
		doable, round.Conflicts = dropConflicts(doable, observed.Conflicts)
		if pass > 1 {
			// What the first pass took along with a link is no drift.
			for i := range doable {
				doable[i].Cause = round.Plan[0].Cause
			}
		}
		round.Plan = append(round.Plan, doable...)
		round.Withheld = withheld
		if len(doable) == 0 {
			left = plan
			break
		}
		if pass > maxPasses {
			round.Err = errors.Join(round.Err, fmt.Errorf("after %d passes the host still differs: %s", maxPasses, doable[0]))
			break
		}
		if err := e.apply(ctx, doable, round.Desired.State); err != nil {
			round.Err = err
			break
		}
		if round.Applied.IsZero() {
			round.Applied = time.Now()
		}
		if observed, err = e.Observe(ctx); err != nil {
			round.Err = err
			break
		}
	}
	if round.Err == nil {
		e.last, e.ran, e.undone = round.Desired.State, true, keys(left)
	}
	return round
}

// keys are the keys of the operations' objects.
func keys(plan Plan) map[Key]bool {
	out := map[Key]bool{}
	for _, op := range plan {
		out[op.Object().Key()] = true
	}
	return out
}

// apply hands each run of operations of one target to it. It goes on past
// failures: a later target may not depend on an earlier one.
func (e *Engine) apply(ctx context.Context, plan Plan, desired State) error {
	var errs []error
	for len(plan) > 0 {
		at := e.targetOf(plan[0])
		if at < 0 {
			errs = append(errs, &OpError{plan[0], errors.New("no target for this kind")})
			plan = plan[1:]
			continue
		}
		n := 1
		for n < len(plan) && e.shares[at].holds(plan[n].Object()) {
			n++
		}
		if err := e.targets[at].Apply(ctx, plan[:n], e.shares[at].Of(desired)); err != nil {
			errs = append(errs, err)
		}
		plan = plan[n:]
	}
	return errors.Join(errs...)
}

// targetOf gives the index of the target of an operation, or -1.
func (e *Engine) targetOf(op Op) int {
	return slices.IndexFunc(e.shares, func(s *Share) bool { return s.holds(op.Object()) })
}

// withhold leaves out what must not be done before desired is complete:
// deletions (but those of a replacement), changes of where services go, and
// additions that come to the same: a frontend which goes from one set to
// another is one, and the set that it goes to may be asked first. Other
// additions and repairs stay, so that a rebooted host gets its network back
// at once.
func withhold(plan Plan, complete bool) (Plan, int) {
	if complete {
		return plan, 0
	}
	staying := plan.frontends()
	kept := make(Plan, 0, len(plan))
	for i, op := range plan {
		replaced := op.Verb == Delete && i+1 < len(plan) && plan[i+1].Verb == Add && plan[i+1].After.Key() == op.Before.Key()
		repaired := op.Verb == Change && op.Object().Kind() <= KindTable
		if op.Verb == Add && !redirects(op.After, staying) || replaced || repaired {
			kept = append(kept, op)
		}
	}
	return kept, len(plan) - len(kept)
}

// redirects reports whether an object would take packets from a frontend that
// stays.
func redirects(o Object, staying map[destination][]Element) bool {
	e, ok := o.(Element)
	return ok && slices.ContainsFunc(staying[e.destination()], e.shadows)
}

// dropConflicts leaves out operations on what belongs to somebody else, and
// on what needs it. Only conflicts that stand in the way of the plan are
// returned.
func dropConflicts(plan Plan, conflicts []Conflict) (Plan, []Conflict) {
	if len(conflicts) == 0 {
		return plan, nil
	}
	marked, foreign := map[Key]bool{}, map[Key]bool{}
	for _, c := range conflicts {
		marked[c.Key], foreign[c.Key] = true, true
	}
	hit := map[Key]bool{}
	kept := make(Plan, 0, len(plan))
	for _, op := range plan {
		o := op.Object()
		if !blocked(o, marked) {
			kept = append(kept, op)
			continue
		}
		hit[o.Key()] = foreign[o.Key()]
		block(o, marked)
	}
	return kept, slices.DeleteFunc(slices.Clone(conflicts), func(c Conflict) bool { return !hit[c.Key] })
}
