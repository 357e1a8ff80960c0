package source

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// notifier is inotify: Add and Remove take real paths of folders.
type notifier interface {
	Add(dir string) error
	Remove(dir string) error
	Close() error
	Channels() (<-chan fsnotify.Event, <-chan error)
}

// inotify is the notifier of the kernel.
type inotify struct{ *fsnotify.Watcher }

func newInotify() (notifier, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return inotify{w}, nil
}

func (i inotify) Channels() (<-chan fsnotify.Event, <-chan error) { return i.Events, i.Errors }

// watches keeps the notifier's watches equal to what a look asks for.
type watches struct {
	notifier notifier
	want     map[string]interest
	have     map[string]id
}

// sync adds and removes watches. added says that the tree has to be looked at
// again: something may have happened before the new watches. With renew all
// are added again, in case one was lost.
func (w *watches) sync(want map[string]interest, renew bool) (added bool, err error) {
	w.want = want
	for dir := range w.have {
		if _, ok := want[dir]; !ok {
			w.forget(dir)
		}
	}
	for dir, in := range want {
		had, ok := w.have[dir]
		if ok && had == in.id && !renew {
			continue
		}
		if ok && had != in.id {
			w.forget(dir) // adding over a replaced folder would mix up the two
		}
		err := w.notifier.Add(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			added = true // vanished meanwhile
			continue
		}
		if err != nil && (in.required || !errors.Is(err, fs.ErrPermission)) {
			return added, err
		}
		w.have[dir] = in.id
		added = added || !ok || had != in.id
	}
	return added, nil
}

// forget removes a watch. An error means that the kernel removed it already.
func (w *watches) forget(dir string) {
	delete(w.have, dir)
	_ = w.notifier.Remove(dir)
}

// effect is what an event means.
type effect int

const (
	nothing effect = iota
	dirty          // the tree changed
	moved          // a path leads elsewhere: look at once
)

// effect interprets an event and drops the watches that it made invalid.
func (w *watches) effect(e fsnotify.Event) effect {
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		for dir := range w.have {
			if dir == e.Name || strings.HasPrefix(dir, e.Name+"/") {
				w.forget(dir)
			}
		}
	}
	dir, base := path.Split(e.Name)
	in := w.want[path.Clean(dir)]
	switch self := w.want[e.Name]; {
	case in.names[base] != nothing:
		return in.names[base]
	case self.all:
		return dirty
	case !in.all:
		return nothing
	}
	inside := fsnotify.Write | fsnotify.Chmod
	if e.Op&^inside == 0 && (strings.HasPrefix(base, ".") || !isDocument(base)) {
		return nothing // an editor's swap file, a README
	}
	return dirty
}
