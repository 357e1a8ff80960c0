package linux

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/poplin-net/poplin/reconciler"
)

// Apply implements reconciler.Target. A link, namespace or route that is
// somebody else's under a name that the plan needs makes its operation fail
// with a *reconciler.ConflictError.
func (t *Target) Apply(ctx context.Context, plan reconciler.Plan, desired reconciler.State) error {
	if t.o.ReadOnly {
		return errReadOnly
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// The reader of events takes everything for interesting until what it
	// knows of the links has caught up with what is made here.
	t.applying.Store(true)
	defer t.applying.Store(false)
	t.current = false
	t.desired, t.wanted = desired, t.desiredSums.of(t.seed, desired)
	return errors.Join(t.carryOut(ctx, plan), t.pruneSysctls(desired), t.pruneFiles(desired))
}

// carryOut applies a plan and reads the kernel again. The caller holds t.mu.
func (t *Target) carryOut(ctx context.Context, plan reconciler.Plan) error {
	if _, err := t.findPods(); err != nil {
		return err
	}
	if err := t.recordFiles(plan); err != nil {
		return err
	}
	t.host.foreign = nil
	for _, p := range t.pods {
		p.conn.foreign = nil
	}
	var touched marks
	err := reconciler.Each(ctx, plan, func(_ context.Context, op reconciler.Op) error {
		touched.pod(netnsOf(op.Object()))
		touched.files = touched.files || op.Object().Kind() == reconciler.KindFile
		return t.do(op)
	})
	touched.host, touched.sysctls, touched.proxies = true, true, true
	t.dirt.put(touched)
	if t.live.Load() {
		// Failing to read is for the next Observe to report.
		_ = t.refresh(ctx, true)
	}
	return err
}

// netnsOf names the pod's namespace that an operation on the object changes.
func netnsOf(o reconciler.Object) string {
	switch o := o.(type) {
	case reconciler.Namespace:
		return o.Name
	case reconciler.Link:
		if o.PeerNetns != "" {
			return o.PeerNetns
		}
		return o.Netns
	case reconciler.Sysctl:
		return o.Netns
	case reconciler.Address:
		return o.Netns
	case reconciler.Route:
		return o.Netns
	}
	return ""
}

// do carries out one operation.
func (t *Target) do(op reconciler.Op) error {
	remove := op.Verb == reconciler.Delete
	switch o := op.Object().(type) {
	case reconciler.Namespace:
		if remove {
			return t.removePod(o.Name)
		}
		return t.addNamespace(o.Name)
	case reconciler.Link:
		if remove {
			return t.dropLink(o)
		}
		return t.setLink(o)
	case reconciler.Sysctl:
		if remove {
			return t.dropSysctl(reconciler.SysctlKey{Netns: o.Netns, Name: o.Name}, false)
		}
		return t.setSysctl(o)
	case reconciler.Address:
		return t.doAddress(o, remove)
	case reconciler.Neighbour:
		return t.doNeighbour(o, remove)
	case reconciler.FDBEntry:
		return t.doFDBEntry(o, remove)
	case reconciler.Route:
		return t.doRoute(op, o)
	case reconciler.ProxyNeighbour:
		return t.doProxyNeighbour(o, remove)
	case reconciler.File:
		return t.doFile(o, remove)
	}
	return fmt.Errorf("objects of type %T are not of this target", op.Object())
}

// removePod removes a namespace and the records of the settings inside it.
func (t *Target) removePod(name string) error {
	if err := t.deleteNamespace(name); err != nil {
		return err
	}
	return t.sysctls.remove(func(r sysctlRecord) bool { return r.Netns == name })
}

func (t *Target) doAddress(a reconciler.Address, remove bool) error {
	c, there, err := t.find(a.Netns, a.Link)
	switch {
	case remove && errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !t.ours(there):
		return &reconciler.ConflictError{Conflict: linkConflict(a.Netns, there)}
	case remove:
		return c.deleteAddress(there.index, a.Prefix)
	}
	return c.addAddress(there.index, a.Prefix)
}

func (t *Target) doRoute(op reconciler.Op, r reconciler.Route) error {
	if r.Link == "" { // over several links: nothing that we make
		c, err := t.connOf(r.Netns)
		if err != nil {
			return err
		}
		return c.deleteRoute(0, r)
	}
	c, there, err := t.find(r.Netns, r.Link)
	switch {
	case op.Verb == reconciler.Delete && errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case op.Verb == reconciler.Delete:
		return c.deleteRoute(there.index, r)
	case op.Verb == reconciler.Change:
		return c.replaceRoute(there.index, r)
	}
	return c.addRoute(there.index, r)
}

// find looks up a link. The error is os.ErrNotExist if it or its namespace
// is missing.
func (t *Target) find(netns, name string) (*conn, kernelLink, error) {
	c, err := t.connOf(netns)
	if err != nil {
		return nil, kernelLink{}, err
	}
	there, ok, err := c.link(name)
	if err == nil && !ok {
		err = fmt.Errorf("link %s is missing: %w", name, os.ErrNotExist)
	}
	return c, there, err
}
