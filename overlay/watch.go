package overlay

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How often a file is looked at beside inotify: as a safety net, and where
// its directory cannot be watched (yet).
const (
	auditEvery = time.Minute
	pollEvery  = 2 * time.Second
)

// watchFile kicks when something happened in the directory of a file, until
// the context ends. The directory is watched, not the file: files are
// replaced by rename, and this one need not exist yet.
func watchFile(ctx context.Context, path string, kicks chan struct{}) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		poll(ctx, kicks)
		return
	}
	defer watcher.Close()
	watched := watcher.Add(filepath.Dir(path)) == nil
	for {
		wait := auditEvery
		if !watched {
			wait = pollEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-watcher.Events:
		case <-watcher.Errors:
			watched = false
		case <-time.After(wait):
		}
		// The directory itself may have been replaced.
		watched = watcher.Add(filepath.Dir(path)) == nil
		kick(kicks)
	}
}

func poll(ctx context.Context, kicks chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pollEvery):
			kick(kicks)
		}
	}
}
