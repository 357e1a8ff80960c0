package linux

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
)

// CleanupOptions are the parameters of Cleanup.
type CleanupOptions struct {
	// RestoreSysctls also turns forwarding off again if it was off before
	// us. Others (a container engine) may rely on it by now.
	RestoreSysctls bool
}

// Cleanup removes all that is ours: routes, links with their addresses,
// namespaces and files, and puts back the settings that nobody else changed since. It
// goes on past failures and joins them. Nothing to remove is success. What
// it could not put back stays recorded, so that it can be called again.
func (t *Target) Cleanup(ctx context.Context, o CleanupOptions) error {
	if t.o.ReadOnly {
		return errReadOnly
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applying.Store(true)
	defer t.applying.Store(false)
	var all marks
	all.everything()
	t.dirt.put(all)
	if err := t.refresh(ctx, true); err != nil {
		return err
	}
	t.desired, t.wanted = reconciler.State{}, 0
	var errs []error
	// Settings first, while the links that some belong to are there; what is
	// inside pods goes with them.
	for _, r := range slices.Clone(t.sysctls.Sysctls) {
		if r.Netns == "" {
			errs = append(errs, t.dropSysctl(r.key(), o.RestoreSysctls))
		}
	}
	keep := reconciler.KindSysctl
	observed := t.seen.state.Only(func(o reconciler.Object) bool { return o.Kind() != keep })
	errs = append(errs, t.carryOut(ctx, reconciler.Diff(observed, reconciler.State{})))
	errs = append(errs, t.pruneFiles(reconciler.State{}))
	errs = append(errs, t.mounts.remove(t.namespaces.Mounted), t.removeRecords())
	return errors.Join(errs...)
}

// removeRecords removes the record files that say nothing any more.
func (t *Target) removeRecords() error {
	var errs []error
	if len(t.sysctls.Sysctls) == 0 {
		errs = append(errs, os.Remove(t.sysctls.path))
	}
	if len(t.files.Files) == 0 {
		errs = append(errs, os.Remove(t.files.path))
	}
	if len(t.pods) == 0 {
		clear(t.namespaces.Namespaces)
		t.namespaces.Mounted = false
		errs = append(errs, os.Remove(t.namespaces.path))
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, os.ErrNotExist) })
	return errors.Join(errs...)
}
