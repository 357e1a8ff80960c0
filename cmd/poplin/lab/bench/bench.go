//go:build linux

// Package bench measures what poplin does at scale: in a lab with the real
// daemon, whole trees of documents on disk, and connections between the
// lab's hosts.
//
// A measurement is a list of figures, each the median of its samples, with
// the floor that it has to meet where one is set. What is compared with each
// other is measured in turns and in random order, so that whatever else the
// machine does meets all alike.
package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Figure is one thing that was measured.
type Figure struct {
	Size string  `json:"size"` // services × endpoints: 10000x10
	What string  `json:"what"`
	Unit string  `json:"unit"` // s, ms, µs, MiB, 1/s, or "" for ratios
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99,omitempty"` // of many samples only
	N    int     `json:"samples"`
	// Floor is what has to be met: at most so much of a time, at least so
	// much of a ratio; 0: nothing.
	Floor float64 `json:"floor,omitempty"`
	Met   *bool   `json:"met,omitempty"`
}

// Report is all that a bench found out. Fields are only ever added.
type Report struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"` // Bench
	Bench      string   `json:"bench"`
	Kernel     string   `json:"kernel"`
	CPUs       int      `json:"cpus"`
	Figures    []Figure `json:"figures"`
	Notes      []string `json:"notes,omitempty"`
}

// Missed counts the floors that were not met.
func (r *Report) Missed() int {
	n := 0
	for _, f := range r.Figures {
		if f.Met != nil && !*f.Met {
			n++
		}
	}
	return n
}

// figure sums up samples. p99 is left out where there are too few to say.
func figure(size, what, unit string, samples []float64) Figure {
	f := Figure{Size: size, What: what, Unit: unit, P50: quantile(samples, 0.5), N: len(samples)}
	if len(samples) >= 50 {
		f.P99 = quantile(samples, 0.99)
	}
	return f
}

// atMost sets a floor for a time: for its 99th percentile if there is one.
func (f Figure) atMost(most float64) Figure {
	value := f.P50
	if f.P99 > 0 {
		value = f.P99
	}
	met := f.N > 0 && value <= most
	f.Floor, f.Met = most, &met
	return f
}

// atLeast sets a floor for a ratio.
func (f Figure) atLeast(least float64) Figure {
	met := f.P50 >= least
	f.Floor, f.Met = least, &met
	return f
}

// quantile is the smallest sample that a share q of all does not exceed; 0 of
// none.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

// inTurns calls f for each of n things, rounds times, in a new random order
// every time.
func inTurns(n, rounds int, f func(i int) error) error {
	for range rounds {
		for _, i := range rand.Perm(n) {
			if err := f(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
