package churntest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// clock is for times in faults.
const clock = "15:04:05.000000"

// Verdict is what the connections came to.
type Verdict struct {
	Connections int
	Rate        float64        // connections a second
	Reached     map[string]int // by endpoint
	// Faults are connections that failed, or reached an endpoint that was not
	// in.
	Faults []error
}

// Verdict judges the connections. No client may run any more.
func (l *Load) Verdict() Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := Verdict{Connections: len(l.calls), Reached: map[string]int{}}
	var first, last time.Time
	for i, x := range l.calls {
		if i == 0 || x.start.Before(first) {
			first = x.start
		}
		if x.start.After(last) {
			last = x.start
		}
		if err := l.fault(x); err != nil {
			v.Faults = append(v.Faults, err)
		}
		if x.err == nil {
			v.Reached[x.endpoint]++
		}
	}
	if took := last.Sub(first); took > 0 {
		v.Rate = float64(len(l.calls)) / took.Seconds()
	}
	return v
}

// fault says what is wrong with a connection.
func (l *Load) fault(x call) error {
	took := x.made.Sub(x.start)
	switch {
	case errors.Is(x.err, unix.ECONNREFUSED):
		return fmt.Errorf("%s: refused after %s: %w", x.address, took, x.err)
	case x.err != nil:
		return fmt.Errorf("%s: failed, made or given up after %s: %w", x.address, took, x.err)
	case !l.in(x):
		return fmt.Errorf("%s: reached %s, which was not in: started %s, took %s; %s", x.address, x.endpoint, x.start.Format(clock), took, l.around(x))
	}
	return nil
}

// in reports whether the endpoint of a connection might have it.
func (l *Load) in(x call) bool {
	for _, s := range l.stays[x.endpoint] {
		if !x.made.Before(s.from) && (s.to.IsZero() || !x.start.After(s.to)) {
			return true
		}
	}
	return false
}

// around says when the endpoint of a connection left last before it started,
// and joined again.
func (l *Load) around(x call) string {
	for i, s := range slices.Backward(l.stays[x.endpoint]) {
		if s.to.IsZero() || s.to.After(x.start) {
			continue
		}
		text := fmt.Sprintf("it left %s before", x.start.Sub(s.to))
		if i+1 < len(l.stays[x.endpoint]) {
			text += fmt.Sprintf(", and joined %s after that", l.stays[x.endpoint][i+1].from.Sub(x.start))
		}
		return text
	}
	return "it had not left before"
}
