package source

import (
	"errors"
	"fmt"
	"time"
)

// settle decides whether a look may be taken for a whole version. It has no
// clock and no files of its own.
type settle struct {
	quiet    time.Duration
	seen     *look     // the look before
	seenAt   time.Time // since when looks have been the same as seen
	changed  bool      // seen differs from a look before it
	accepted *look     // what was handed out last, or the problem that was
}

// verdict is what to do about a look.
type verdict struct {
	kind verdictKind
	wait time.Duration // until the next look, if it is too early
	why  string
}

type verdictKind int

const (
	unchanged verdictKind = iota // is what was accepted
	tooEarly                     // somebody may be in the middle of writing
	whole                        // read it
	broken                       // report the look's error
	taken                        // was read and handed out
)

// judge compares a look with the ones before. first says that nothing was
// accepted ever: then there is nothing to lose by reporting at once that there
// is nothing to read.
func (s *settle) judge(l *look, now time.Time, first bool) verdict {
	swapped := s.seen != nil && l.linked && l.err == nil && !l.sameRoot(s.seen)
	if !l.same(s.seen) {
		s.seenAt, s.changed = now, s.seen != nil
	}
	s.seen = l
	switch nothing := errors.Is(l.err, ErrMissing) || errors.Is(l.err, ErrEmpty); {
	case l.same(s.accepted):
		return verdict{kind: unchanged}
	case first && nothing:
		return verdict{kind: broken}
	case errors.Is(l.err, ErrUnstable):
		return verdict{tooEarly, s.retry(), l.err.Error()}
	case l.busy != "":
		return verdict{tooEarly, s.retry(), "a tool is writing: " + l.busy + " exists"}
	}
	if wait := s.noise(l, now); wait > 0 && !swapped {
		return verdict{tooEarly, wait, fmt.Sprintf("still being written: %s", l.newest.path)}
	}
	if l.err != nil {
		return verdict{kind: broken}
	}
	return verdict{kind: whole}
}

// noise gives the time that is left until the tree has been quiet for long
// enough, by its newest ctime. Where ctimes are not to be trusted (a clock
// that was set back, another host's clock) or say nothing (a missing root),
// having looked the same all that time is as good.
func (s *settle) noise(l *look, now time.Time) time.Duration {
	left := s.quiet - now.Sub(s.seenAt)
	if ctime := l.newest.stamp.ctime; ctime != 0 {
		age := time.Duration(now.UnixNano() - ctime)
		if age >= 0 {
			left = min(left, s.quiet-age)
		}
	}
	if s.changed {
		left = max(left, min(s.quiet, glance)-now.Sub(s.seenAt))
	}
	return left
}

// glance is how long a tree that changed must look the same at least, whatever
// its ctimes say: a file that is cut short has its new size before it has its new
// ctime (ext4_setattr, Linux 6.18).
const glance = 100 * time.Millisecond

// retry is the pause before looking again at something that ends without
// telling.
func (s *settle) retry() time.Duration { return max(s.quiet/10, 10*time.Millisecond) }
