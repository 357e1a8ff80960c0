package overlay

import (
	"os"
	"testing"
)

// schedules is how many schedules the model runs.
func schedules() uint64 {
	if os.Getenv("POPLIN_TEST_LONG") != "" {
		return 100_000
	}
	return 2_000
}

func TestModel(t *testing.T) {
	for seed := range schedules() {
		if err := newWorld(seed, byEpoch).run(); err != nil {
			t.Fatalf("schedule %d: %v", seed, err)
		}
	}
}

// A model in which nothing happens proves nothing.
func TestModelReachesEverything(t *testing.T) {
	reached := map[string]int{}
	for seed := range uint64(500) {
		w := newWorld(seed, byEpoch)
		if err := w.run(); err != nil {
			t.Fatalf("schedule %d: %v", seed, err)
		}
		for what, n := range w.reached {
			reached[what] += n
		}
		reached["released"] += len(w.released)
	}
	for _, what := range []string{string(Proposed), string(Confirmed), string(Lost), "dropped", "took over", "contested", "released"} {
		if reached[what] < 10 {
			t.Errorf("%s: %d times in 500 schedules", what, reached[what])
		}
	}
	t.Log(reached)
}

// Without the tie-break the properties do not hold, so the model is able to
// find that out.
func TestModelNeedsTheTieBreak(t *testing.T) {
	withoutTieBreak := func(a, b claimed) int {
		switch {
		case a.Epoch < b.Epoch:
			return -1
		case a.Epoch > b.Epoch:
			return 1
		}
		return 0 // and the one that came first wins
	}
	for seed := range uint64(2_000) {
		if err := newWorld(seed, withoutTieBreak).run(); err != nil {
			t.Logf("schedule %d: %v", seed, err)
			return
		}
	}
	t.Error("no schedule noticed that the tie-break is missing")
}
