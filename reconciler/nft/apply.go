package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// Apply implements reconciler.Target. A plan is one transaction, or a few:
// see split. Where somebody else was faster, the tables are read and what
// remains is tried once more.
func (t *Target) Apply(ctx context.Context, plan reconciler.Plan, desired reconciler.State) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(plan) == 0 {
		return nil
	}
	if err := errors.Join(check(plan, t.chains), t.checkTables(plan)); err != nil {
		return err
	}
	t.touch(plan, desired)
	t.desired = desired
	err := t.carryOut(plan, desired)
	if raced(err) {
		t.log.Debug("nftables: trying again", "error", err)
		err = t.retry(ctx, plan, desired)
	}
	if err != nil {
		t.monitor.forget()
		return err
	}
	if err := t.forgetClients(); err != nil {
		t.log.Warn("clients still stick to endpoints that left", "error", err)
	} else {
		t.touched.freed = nil
	}
	t.purger.add(ctx, t.touched, desired)
	t.touched = touched{freed: t.touched.freed}
	return t.listen()
}

// carryOut commits a plan and notes what the tables hold then.
func (t *Target) carryOut(plan reconciler.Plan, desired reconciler.State) error {
	reach := t.reachable(desired)
	whole := len(reconciler.Diff(t.seen, reach)) == len(plan)
	if err := t.commit(plan, desired); err != nil {
		return err
	}
	if !whole { // the plan was cut down
		t.monitor.forget()
		return nil
	}
	t.seen = reach
	return t.note(plan)
}

// touch notes what a plan does to frontends. A table that is made anew hides
// what was in it, so there the last desired state stands in.
func (t *Target) touch(plan reconciler.Plan, desired reconciler.State) {
	t.touched.add(plan)
	for _, op := range plan {
		if _, ok := op.Object().(reconciler.Table); ok {
			t.touched.add(reconciler.Diff(t.desired, desired))
			return
		}
	}
}

// reachable is the part of desired that does not belong into tables of
// somebody else.
func (t *Target) reachable(desired reconciler.State) reconciler.State {
	if len(t.conflicts) == 0 {
		return desired
	}
	return desired.Only(func(o reconciler.Object) bool {
		_, conflict := t.conflicting(familyOf(o))
		return !conflict
	})
}

// checkTables refuses what would go into a table that is not poplin's, or
// into a damaged one that the plan does not make anew.
func (t *Target) checkTables(plan reconciler.Plan) error {
	damaged := map[reconciler.Family]reconciler.Table{}
	for f, table := range t.tables {
		if table != markedTable(f) {
			damaged[f] = table
		}
	}
	for _, op := range plan {
		if table, ok := op.Before.(reconciler.Table); ok {
			delete(damaged, table.Family)
		}
	}
	for _, op := range plan {
		f := familyOf(op.Object())
		if c, ok := t.conflicting(f); ok {
			return &reconciler.OpError{Op: op, Err: &reconciler.ConflictError{Conflict: c}}
		}
		if table, ok := damaged[f]; ok {
			return &reconciler.OpError{Op: op, Err: fmt.Errorf("%s must be made anew first", table)}
		}
	}
	return nil
}

// note notes which tables and chains a plan that was carried out made or
// deleted.
func (t *Target) note(plan reconciler.Plan) error {
	var made []reconciler.Family
	for _, op := range plan {
		if c, ok := op.Object().(reconciler.Chain); ok {
			t.chains[c] = op.Verb != reconciler.Delete
		}
		if table, ok := op.Before.(reconciler.Table); ok {
			delete(t.tables, table.Family)
			delete(t.handles, table.Family)
		}
		if table, ok := op.After.(reconciler.Table); ok {
			t.tables[table.Family] = table
			made = append(made, table.Family)
		}
	}
	if len(made) == 0 {
		return nil
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: t.netns})
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	for _, f := range made {
		r := &reader{conn: conn, family: f}
		if err := r.readTable(); err != nil {
			return errors.Join(err, conn.Close())
		}
		t.handles[f] = r.found.handle
	}
	return conn.Close()
}

// commit carries out a plan.
func (t *Target) commit(plan reconciler.Plan, desired reconciler.State) error {
	steps := split(plan, t.seen, desired)
	for i, x := range steps {
		if err := t.connect(); err != nil {
			return err
		}
		err := x.send(t.conn)
		if err == nil {
			err = t.conn.Flush()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("nftables transaction %d of %d: %w", i+1, len(steps), err), t.disconnect())
		}
	}
	return nil
}

// raced reports whether an error can mean that the tables are not what they
// were when the plan was made, or that nobody knows.
func raced(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.EEXIST, unix.EBUSY, unix.ENOBUFS, unix.ERESTART, unix.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// retry reads the tables and carries out what of a plan is still to do.
func (t *Target) retry(ctx context.Context, plan reconciler.Plan, desired reconciler.State) error {
	t.monitor.forget()
	if err := t.observe(ctx); err != nil {
		return err
	}
	asked := make(map[reconciler.Key]bool, len(plan))
	for _, op := range plan {
		asked[op.Object().Key()] = true
	}
	var rest reconciler.Plan
	for _, op := range reconciler.Diff(t.seen, desired) {
		if asked[op.Object().Key()] {
			rest = append(rest, op)
		}
	}
	if err := t.checkTables(rest); err != nil {
		return err
	}
	return t.carryOut(rest, desired)
}
