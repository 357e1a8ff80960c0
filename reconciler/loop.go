package reconciler

import (
	"context"
	"sync"
	"time"
)

// The loop's timings.
const (
	// audit is how often the host is looked at although nothing was heard.
	audit = time.Minute
	// retryFirst and retryMost bound the pause after a failed round; it
	// doubles in between.
	retryFirst = 200 * time.Millisecond
	retryMost  = 30 * time.Second
)

// Loop runs rounds of an engine. One goroutine owns a round; everything else
// only kicks it.
type Loop struct {
	mu     sync.Mutex // held during a round
	engine *Engine
	kick   chan struct{}
	// desire computes what a round is to reach from what was observed.
	desire func(context.Context, Observation) (Desired, error)
	// report is told of every round, on the loop's goroutine.
	report func(Round)
}

// NewLoop makes a loop. desire and report are called by the goroutine of Run
// only.
func NewLoop(e *Engine, desire func(context.Context, Observation) (Desired, error), report func(Round)) *Loop {
	return &Loop{engine: e, kick: make(chan struct{}, 1), desire: desire, report: report}
}

// Kick asks for a round soon. It never blocks; kicks that arrive during a
// round make one more round.
func (l *Loop) Kick() { signal(l.kick) }

// Run runs rounds until ctx ends: at once, after each kick, after each change
// that a target reports, after a pause when a round failed, and every minute.
func (l *Loop) Run(ctx context.Context) error {
	for _, t := range l.engine.targets {
		go l.forward(ctx, t.Changes())
	}
	retry := retryFirst
	for {
		round := l.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		l.report(round)
		pause := audit
		if round.Err != nil {
			pause, retry = retry, min(2*retry, retryMost)
		} else {
			retry = retryFirst
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-l.kick:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (l *Loop) round(ctx context.Context) Round {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.engine.Converge(ctx, func(o Observation) (Desired, error) { return l.desire(ctx, o) })
}

// Between calls f with the engine between two rounds: for looking and
// planning beside a running loop.
func (l *Loop) Between(f func(*Engine)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.engine)
}

// forward turns a target's changes into kicks.
func (l *Loop) forward(ctx context.Context, changes <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			l.Kick()
		}
	}
}
