package linux

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
)

// prints are fingerprints of an observation, independent of order.
type prints struct{ objects, conflicts uint64 }

// snapshot is what was read last.
type snapshot struct {
	state     reconciler.State
	conflicts []reconciler.Conflict
	prints    prints
	// The host's own parts, kept while what they hold stays the same.
	hostGroup, sysctlGroup *reconciler.Group
}

// refresh reads the kernel: the host's own namespace if all or if events
// concern it, each pod's namespace if events concern it or nobody listens to
// events. The caller holds t.mu.
func (t *Target) refresh(ctx context.Context, all bool) error {
	stale := t.dirt.take()
	if stale.underlay {
		t.dirt.put(marks{underlay: true}) // for the goroutine that checks
	}
	if !t.live.Load() {
		stale.everything()
	}
	if all {
		stale.dir, stale.host, stale.sysctls = true, true, true
	}
	err := t.read(ctx, stale)
	if err != nil {
		// What was not read stays to be read.
		t.dirt.put(stale)
	}
	return err
}

func (t *Target) read(ctx context.Context, stale marks) error {
	var conflicts []reconciler.Conflict
	if err := ctx.Err(); err != nil {
		return err
	}
	found, err := t.findPods()
	if err != nil {
		return err
	}
	conflicts = append(conflicts, found...)
	for _, name := range slices.Sorted(maps.Keys(t.pods)) {
		p := t.pods[name]
		if p.group == nil || stale.allPods || stale.pods[name] {
			if err := t.readPod(p); err != nil {
				return fmt.Errorf("netns %s: %w", name, err)
			}
		}
	}
	host, links, err := t.readHost()
	if err != nil {
		return err
	}
	t.seen.hostGroup = keep(t.seen.hostGroup, "linux host", host)
	if stale.sysctls || t.seen.sysctlGroup == nil {
		t.seen.sysctlGroup = keep(t.seen.sysctlGroup, "linux sysctls", t.readSysctls(""))
	}
	t.assemble(append(conflicts, t.linkConflicts(links)...))
	t.interest.Store(t.interests(links))
	return nil
}

// assemble puts the parts together.
func (t *Target) assemble(conflicts []reconciler.Conflict) {
	groups := []*reconciler.Group{t.seen.hostGroup, t.seen.sysctlGroup}
	for _, p := range t.pods {
		groups = append(groups, p.group)
	}
	t.seen.state = reconciler.NewState(groups...)
	t.seen.conflicts = conflicts
	t.seen.prints = prints{objects: fingerprint(t.seed, t.seen.state)}
	for _, c := range conflicts {
		t.seen.prints.conflicts += maphash.Comparable(t.seed, c)
	}
}

// keep returns the old group if it holds the same objects in the same order.
func keep(old *reconciler.Group, name string, objects []reconciler.Object) *reconciler.Group {
	if old != nil && slices.Equal(old.Objects, objects) {
		return old
	}
	return &reconciler.Group{Name: name, Objects: objects}
}

// fingerprint sums up the objects of a state.
func fingerprint(seed maphash.Seed, s reconciler.State) uint64 {
	var sum uint64
	for _, o := range s.Objects() {
		sum += maphash.Comparable(seed, o)
	}
	return sum
}
