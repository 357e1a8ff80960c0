package source

import (
	"fmt"
	"testing"
	"time"
)

// TestSettle walks through looks with times of their own.
func TestSettle(t *testing.T) {
	base := time.Now()
	at := func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }
	version := func(root uint64, ctimeMS int) *look {
		e := entry{path: "a.yaml", stamp: stamp{ctime: at(ctimeMS).UnixNano()}}
		return &look{resolved: "/r", rootID: id{ino: root}, entries: []entry{e}, newest: e}
	}
	linked := func(l *look) *look { l.linked = true; return l }
	failing := func(err error) *look { return &look{err: err} }
	busy := func(l *look) *look { l.busy = ".git/index.lock"; return l }
	type step struct {
		at   int
		look *look
		want verdictKind
		wait int // ms
	}
	fresh := version(1, 0)
	for name, steps := range map[string][]step{
		"old tree at the start":           {{5000, version(1, 0), whole, 0}},
		"young tree at the start":         {{400, version(1, 0), tooEarly, 600}, {1000, version(1, 0), whole, 0}},
		"written again":                   {{900, fresh, tooEarly, 100}, {1000, version(1, 950), tooEarly, 950}, {1950, version(1, 950), whole, 0}},
		"ctime from the future":           {{0, version(1, 99000), tooEarly, 1000}, {500, version(1, 99000), tooEarly, 500}, {1000, version(1, 99000), whole, 0}},
		"link swapped":                    {{5000, linked(version(1, 0)), whole, 0}, {5001, linked(version(2, 5000)), whole, 0}},
		"link swapped to a busy folder":   {{5000, linked(version(1, 0)), whole, 0}, {5001, busy(linked(version(2, 5000))), tooEarly, 100}},
		"folder replaced without link":    {{5000, version(1, 0), whole, 0}, {5001, version(2, 5000), tooEarly, 999}},
		"cut short, ctime not yet new":    {{5000, version(1, 0), whole, 0}, {9000, version(2, 0), tooEarly, 100}, {9100, version(2, 0), whole, 0}},
		"link appears":                    {{0, failing(ErrMissing), broken, 0}, {1, linked(version(1, 0)), whole, 0}},
		"changed under the look":          {{0, failing(ErrUnstable), tooEarly, 100}},
		"refused at the start":            {{0, failing(ErrRefused), tooEarly, 1000}, {1000, failing(ErrRefused), broken, 0}},
		"lock held":                       {{5000, busy(version(1, 0)), tooEarly, 100}},
		"empty at the start, then filled": {{0, failing(ErrEmpty), broken, 0}, {100, version(1, 90), tooEarly, 990}},
	} {
		t.Run(name, func(t *testing.T) {
			s := settle{quiet: time.Second}
			for i, step := range steps {
				v := s.judge(step.look, at(step.at), true)
				if v.kind != step.want || v.wait != time.Duration(step.wait)*time.Millisecond {
					t.Fatalf("step %d: %v after %v (%s), want %v after %d ms", i, v.kind, v.wait, v.why, step.want, step.wait)
				}
			}
		})
	}
}

func TestMissingAfterAcceptedIsToldLater(t *testing.T) {
	s := settle{quiet: time.Second}
	now := time.Now()
	gone := &look{err: fmt.Errorf("%w: /r", ErrMissing)}
	if v := s.judge(gone, now, false); v.kind != tooEarly {
		t.Errorf("%v at once: folders are away for a moment when they are replaced", v.kind)
	}
	if v := s.judge(gone, now.Add(time.Second), false); v.kind != broken {
		t.Errorf("%v after the quiet time", v.kind)
	}
}
