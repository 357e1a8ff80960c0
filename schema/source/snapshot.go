package source

import (
	"errors"
	"time"
)

// State says how the directory is.
type State string

// The states. In all but StateOK the tree is the last one accepted, if any.
const (
	StateOK       State = "ok"
	StateWaiting  State = "waiting"  // nothing was accepted yet
	StateUnstable State = "unstable" // has been written to for too long
	StateEmpty    State = "empty"    // no documents
	StateMissing  State = "missing"  // does not exist
	StateRefused  State = "refused"  // holds what is never read
)

// Snapshot is what the watcher knows.
type Snapshot struct {
	Tree    Tree // the last accepted version; without Digest: none yet
	State   State
	Problem string // one line, "" in StateOK
	// Polling: changes are found by looking from time to time, for
	// PollReason.
	Polling    bool
	PollReason string
	At         time.Time // when the snapshot last changed
}

// same reports whether two snapshots say the same.
func (s Snapshot) same(o Snapshot) bool {
	return s.State == o.State && s.Problem == o.Problem &&
		s.Polling == o.Polling && s.PollReason == o.PollReason &&
		s.Tree.Digest == o.Tree.Digest && s.Tree.Revision == o.Tree.Revision &&
		s.Tree.Branch == o.Tree.Branch && s.Tree.Resolved == o.Tree.Resolved
}

// stateOf gives the state that an error of a look means.
func stateOf(err error) State {
	switch {
	case err == nil:
		return StateOK
	case errors.Is(err, ErrMissing):
		return StateMissing
	case errors.Is(err, ErrEmpty):
		return StateEmpty
	case errors.Is(err, ErrUnstable):
		return StateUnstable
	}
	return StateRefused
}

// outcome is a snapshot with the last accepted tree.
func (w *Watcher) outcome(err error) Snapshot {
	return Snapshot{
		Tree:       w.Latest().Tree,
		State:      stateOf(err),
		Problem:    errorText(err),
		Polling:    w.pollReason != "",
		PollReason: w.pollReason,
	}
}

// publish makes the snapshot the latest one and kicks Changes, if it says
// anything new.
func (w *Watcher) publish(s Snapshot) {
	w.mu.Lock()
	old := w.latest
	if s.same(old) {
		w.mu.Unlock()
		return
	}
	s.At = time.Now()
	w.latest = s
	w.mu.Unlock()
	select {
	case w.changes <- struct{}{}:
	default:
	}
	w.log(s, old)
}

// log says in one line what became of the directory. What the documents say
// is logged by whoever parses them.
func (w *Watcher) log(s, old Snapshot) {
	if s.Polling && s.PollReason != old.PollReason {
		w.o.Log.Warn("source polled", "root", w.o.Root, "reason", s.PollReason)
	}
	switch {
	case s.Problem != "" && s.Problem != old.Problem:
		w.o.Log.Warn("source "+string(s.State), "root", w.o.Root, "problem", s.Problem)
	case s.State == StateOK && old.Problem != "" && old.State != StateWaiting:
		w.o.Log.Info("source ok", "root", w.o.Root, "revision", s.Tree.Label())
	}
}
