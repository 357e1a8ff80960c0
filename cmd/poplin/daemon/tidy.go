package daemon

import (
	"context"
	"runtime"
	"runtime/metrics"
	"time"
)

const (
	// copyShare is the part of the time that writing the last good copy may
	// take, however fast documents change.
	copyShare = 1.0 / 20
	// copyLate is how long documents have to rest for a copy that was put off.
	copyLate = time.Second
	// collectEarly is the part of the room between what is alive and where the
	// garbage collector starts by itself from which on it is started here.
	collectEarly = 1.0 / 3
)

// tidy does after rounds what takes long and nobody waits for: with 10,000
// services the collector keeps two processors busy for 45 ms and the copy takes
// 25 ms, and a change that met one of them took five times as long as others.
// The next change rarely comes so soon, as a directory has to be quiet first.
func (d *Daemon) tidy(ctx context.Context) error {
	late := time.NewTimer(copyLate)
	defer late.Stop()
	var due time.Time // before that no other copy is written
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.idle:
			collect()
		case <-late.C:
		}
		if wait := time.Until(due); wait > 0 {
			late.Reset(wait + copyLate)
			continue
		}
		started := time.Now()
		d.documents.keep()
		took := time.Since(started)
		due = started.Add(time.Duration(float64(took) / copyShare))
	}
}

// collect runs the garbage collector if there is much to collect.
func collect() {
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/goal:bytes"}}
	metrics.Read(heap)
	live, now, goal := float64(heap[0].Value.Uint64()), float64(heap[1].Value.Uint64()), float64(heap[2].Value.Uint64())
	if now-live > collectEarly*(goal-live) {
		runtime.GC()
	}
}
