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

// snapshot is what was read last, in parts that are read apart.
type snapshot struct {
	state     reconciler.State
	conflicts []reconciler.Conflict
	prints    prints

	host, sysctls, proxies, files              *reconciler.Group // nil: not read yet
	podConflicts, linkConflicts, fileConflicts []reconciler.Conflict
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
		stale.dir, stale.host, stale.sysctls, stale.proxies = true, true, true, true
		stale.files = stale.files || !t.watched
	}
	err := t.read(ctx, stale)
	if err != nil {
		// What was not read stays to be read.
		t.dirt.put(stale)
	}
	return err
}

func (t *Target) read(ctx context.Context, stale marks) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if stale.dir || t.seen.host == nil {
		found, err := t.findPods()
		if err != nil {
			return err
		}
		t.seen.podConflicts = found
		stale.host = true
	}
	for _, name := range slices.Sorted(maps.Keys(t.pods)) {
		p := t.pods[name]
		if p.group != nil && !stale.allPods && !stale.pods[name] {
			continue
		}
		if err := t.readPod(p); err != nil {
			return fmt.Errorf("netns %s: %w", name, err)
		}
		stale.host = true // a pair's far end may have another name
	}
	if stale.host {
		objects, links, err := t.readHost()
		if err != nil {
			return err
		}
		t.seen.host = keep(t.seen.host, "linux host", objects)
		t.seen.linkConflicts = t.linkConflicts(links)
		in := t.interests(links)
		t.interest.Store(in)
		if t.neighbours != nil && t.neighbours.hearNeighbours(len(in.vxlans) > 0) {
			t.dirt.put(marks{host: true}) // what changed meanwhile was not heard
		}
	}
	if stale.sysctls || t.seen.sysctls == nil {
		t.seen.sysctls = keep(t.seen.sysctls, "linux sysctls", t.readSysctls(""))
	}
	if stale.proxies || t.seen.proxies == nil {
		proxies, err := t.host.proxyNeighbours()
		if err != nil {
			return err
		}
		t.seen.proxies = keep(t.seen.proxies, "linux proxy neighbours", proxies)
	}
	if stale.files || t.seen.files == nil {
		objects, conflicts, err := t.readFiles()
		if err != nil {
			return fmt.Errorf("files: %w", err)
		}
		t.seen.files, t.seen.fileConflicts = keep(t.seen.files, "linux files", objects), conflicts
	}
	t.assemble()
	return nil
}

// assemble puts the parts together.
func (t *Target) assemble() {
	groups := []*reconciler.Group{t.seen.host, t.seen.sysctls, t.seen.proxies, t.seen.files}
	for _, p := range t.pods {
		groups = append(groups, p.group)
	}
	t.seen.state = reconciler.NewState(groups...)
	t.seen.conflicts = slices.Concat(t.seen.podConflicts, t.seen.linkConflicts, t.seen.fileConflicts)
	t.seen.prints = prints{objects: t.seenSums.of(t.seed, t.seen.state)}
	for _, c := range t.seen.conflicts {
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

// sums are the fingerprints of the last state's groups: some hold files of
// megabytes, and hardly ever change.
type sums map[*reconciler.Group]uint64

// of sums up the objects of the next state.
func (s *sums) of(seed maphash.Seed, state reconciler.State) uint64 {
	next, total := sums{}, uint64(0)
	for g := range state.Groups() {
		sum, known := (*s)[g]
		if !known {
			for _, o := range g.Objects {
				sum += maphash.Comparable(seed, o)
			}
		}
		next[g] = sum
		total += sum
	}
	*s = next
	return total
}
