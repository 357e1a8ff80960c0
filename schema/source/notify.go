package source

import (
	"maps"
	"slices"
)

// watch brings the watches in line with a look. again says that something
// may have happened before new watches were there. Where inotify fails it is
// given up, and tried anew when the watches are renewed.
func (w *Watcher) watch(l *look, renew bool) (again bool) {
	if w.o.Mode == ModePoll {
		w.pollReason = "asked for"
		return false
	}
	if w.watches == nil && renew {
		w.startWatching()
	}
	if w.watches != nil {
		var err error
		if again, err = w.watches.sync(l.watch, renew); err != nil {
			w.stopWatching()
			w.failure, again = watchProblem(err), false
		}
	}
	if w.pollReason = w.failure; w.pollReason == "" {
		w.pollReason = remoteReason(l)
	}
	return again
}

// startWatching opens inotify.
func (w *Watcher) startWatching() {
	n, err := w.open()
	if err != nil {
		w.failure = watchProblem(err)
		return
	}
	w.failure = ""
	w.watches = &watches{notifier: n, have: make(map[string]id)}
}

// stopWatching gives all watches back.
func (w *Watcher) stopWatching() {
	if w.watches == nil {
		return
	}
	_ = w.watches.notifier.Close()
	w.watches = nil
}

// remoteReason says why inotify does not hear of every change, if so.
func remoteReason(l *look) string {
	for _, dir := range slices.Sorted(maps.Keys(l.watch)) {
		if l.watch[dir].all && dir != l.resolved {
			continue // on the root's file system, but for mounts inside it
		}
		if name := remoteFS(dir); name != "" {
			return dir + " is on " + name + ", where inotify does not hear of other hosts' changes"
		}
	}
	return ""
}
