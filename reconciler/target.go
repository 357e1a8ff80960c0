package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Conflict is something under a name that poplin needs but did not mark as
// its own. It is reported and never touched.
type Conflict struct {
	Key    Key    // of the object that poplin would have there
	What   string // "link poplin-br0 exists and is not poplin's"
	Remedy string // one command or sentence that mends it
}

// ConflictError says that an operation was not carried out because of a
// conflict that Apply met.
type ConflictError struct{ Conflict Conflict }

func (e *ConflictError) Error() string { return e.Conflict.What }

// Observation is what a target found.
type Observation struct {
	// State holds only what poplin owns. Its groups need not be those of any
	// desired state; a target that remembers what it last applied may give
	// the same group pointers back, which makes Diff cheap.
	State     State
	Conflicts []Conflict
}

// Observer reads what poplin owns of some kinds. It changes nothing.
type Observer interface {
	// Kinds lists the kinds that the observer is responsible for.
	Kinds() []Kind
	// Observe reads the objects. It is cheap when nothing changed. An error
	// means that nothing is known; a partial state is never returned.
	Observe(ctx context.Context) (Observation, error)
}

// Target is a place where whole kinds of objects live.
type Target interface {
	Observer
	// Apply carries out the operations, which are all of the target's kinds,
	// in the order given; desired is the whole state of the target's kinds
	// that the plan leads to. Deleting what is missing is success, as is
	// adding what is there already and equal. It goes on past a failed
	// operation where others do not depend on it (see Each) and returns
	// the failures joined, each an *OpError, unless the target applies a plan as one
	// transaction. Apply is not called concurrently with itself or Observe.
	Apply(ctx context.Context, plan Plan, desired State) error
	// Changes receives a value, at most one waiting, when something that
	// the target owns or depends on may have been changed by somebody else.
	// Foreign noise does not count. The channel is never closed.
	Changes() <-chan struct{}
}

// OpError is the failure of one operation.
type OpError struct {
	Op  Op
	Err error
}

func (e *OpError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *OpError) Unwrap() error { return e.Err }

// ErrSkipped marks an operation that was left out because one that it needs
// failed.
var ErrSkipped = errors.New("skipped: what it needs failed")

// Each carries out the operations of a plan one after another for targets
// that apply them singly. An operation that needs an object whose own
// operation failed is skipped. Failures are joined, each as *OpError.
func Each(ctx context.Context, plan Plan, do func(context.Context, Op) error) error {
	failed := map[Key]bool{}
	var errs []error
	for _, op := range plan {
		err := ctx.Err()
		if err == nil && op.Verb != Delete && blocked(op.After, failed) {
			err = ErrSkipped
		}
		if err == nil {
			err = do(ctx, op)
		}
		if err != nil {
			block(op.Object(), failed)
			errs = append(errs, &OpError{op, err})
		}
	}
	return errors.Join(errs...)
}

// block marks an object, and what it makes, as not there.
func block(o Object, set map[Key]bool) {
	set[o.Key()] = true
	if m, ok := o.(Maker); ok {
		for _, k := range m.Makes() {
			set[k] = true
		}
	}
}

// blocked reports whether an object, or one that it needs, is marked.
func blocked(o Object, set map[Key]bool) bool {
	if len(set) == 0 {
		return false
	}
	return set[o.Key()] || slices.ContainsFunc(o.Needs(), func(k Key) bool { return set[k] })
}
