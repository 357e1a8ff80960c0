package nft

import (
	"errors"
	"fmt"

	"github.com/poplin-net/poplin/reconciler"
)

// check returns an error for the first operation that the tables cannot
// hold. It runs before anything is sent: the kernel names the kind of message
// that it refused, not the object. there says which chains the tables have.
func check(plan reconciler.Plan, there map[reconciler.Chain]bool) error {
	known := index()
	made := map[reconciler.Chain]bool{}
	for _, op := range plan {
		if c, ok := op.Object().(reconciler.Chain); ok {
			made[c] = op.Verb != reconciler.Delete
		}
	}
	has := func(c reconciler.Chain) bool {
		will, planned := made[c]
		return will || !planned && there[c]
	}
	for _, op := range plan {
		err := checkObject(known, op.Object(), op.Verb)
		if e, ok := op.After.(reconciler.Element); ok && err == nil && e.Chain != "" && !sendsTo(e.Chain) {
			if c, _ := pickChain(e.Family, e.Chain); !has(c) {
				err = fmt.Errorf("chain %s is missing", e.Chain)
			}
		}
		if c, ok := op.After.(reconciler.Chain); ok && err == nil && c.Method == reconciler.MethodSticky && !has(c.Recall()) {
			err = fmt.Errorf("chain %s is missing", c.Recall().Name())
		}
		if err != nil {
			return &reconciler.OpError{Op: op, Err: err}
		}
	}
	return nil
}

func checkObject(known map[reconciler.SetName]layout, o reconciler.Object, verb reconciler.Verb) error {
	if f := familyOf(o); f != reconciler.IPv4 && f != reconciler.IPv6 {
		return fmt.Errorf("family %q has no table", f)
	}
	switch o := o.(type) {
	case reconciler.Table:
		if verb != reconciler.Delete && o != markedTable(o.Family) {
			return fmt.Errorf("only version %d of the skeleton can be made", reconciler.SkeletonVersion)
		}
	case reconciler.Chain:
		if c, ok := pickChain(o.Family, o.Name()); !ok || c != o {
			return errors.New("there is no such chain")
		}
	case reconciler.Element:
		l, ok := known[o.Set]
		if !ok || l.dynamic {
			return fmt.Errorf("set %q is not known", o.Set)
		}
		if err := l.check(o); err != nil {
			return err
		}
		if l.verdict() {
			if _, ok := pickChain(o.Family, o.Chain); !ok && !sendsTo(o.Chain) {
				return fmt.Errorf("chain %q is not known", o.Chain)
			}
		}
	}
	return nil
}
