package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options of a Watcher. Zero values give the defaults.
type Options struct {
	Root   string        // the directory, or a symbolic link to it
	Quiet  time.Duration // without writes before a tree is read; default 1 s
	Mode   Mode          // default ModeAuto
	Log    *slog.Logger  // default slog.Default()
	Wait   time.Duration // for quiet before StateUnstable; default 10 s
	Rescan time.Duration // between looks without an event; default 60 s
}

// Watcher follows the directory and hands out whole versions of it.
type Watcher struct {
	o       Options
	reader  *reader
	settle  settle
	open    func() (notifier, error)
	watches *watches // nil: none

	// Of the goroutine in Run.
	dirtySince time.Time // zero: everything was accepted or reported
	next       time.Time // of the next look
	rescan     time.Time // when watches were last renewed
	lookTook   time.Duration
	failure    string // why there are no watches
	pollReason string

	mu      sync.Mutex
	latest  Snapshot
	changes chan struct{}
	reload  chan struct{}
}

// New prepares a watcher; Run starts it.
func New(o Options) *Watcher {
	o.Quiet = cmp.Or(o.Quiet, time.Second)
	o.Mode = cmp.Or(o.Mode, ModeAuto)
	o.Log = cmp.Or(o.Log, slog.Default())
	o.Wait = cmp.Or(o.Wait, 10*time.Second)
	o.Rescan = cmp.Or(o.Rescan, time.Minute)
	return &Watcher{
		o:       o,
		reader:  newReader(),
		settle:  settle{quiet: o.Quiet},
		open:    newInotify,
		latest:  Snapshot{State: StateWaiting, Problem: "not read yet", At: time.Now()},
		changes: make(chan struct{}, 1),
		reload:  make(chan struct{}, 1),
	}
}

// Latest gives the newest snapshot. It may be called at any time.
func (w *Watcher) Latest() Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest
}

// Changes is kicked after Latest changed. It has a size of one and is never
// closed; one reader.
func (w *Watcher) Changes() <-chan struct{} { return w.changes }

// Reload makes Run read every file again, now. The quiet period holds also
// then: asking for it does not make a half-written tree whole. It never blocks.
func (w *Watcher) Reload() {
	select {
	case w.reload <- struct{}{}:
	default:
	}
}

// Run follows the directory until ctx is done and then returns nil. It must
// be called once. Nothing that is wrong with the directory ends it.
func (w *Watcher) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer w.stopWatching()
	for {
		var events <-chan fsnotify.Event
		var failures <-chan error
		if w.watches != nil {
			events, failures = w.watches.notifier.Channels()
		}
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			w.event(e)
		case err := <-failures:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.o.Log.Debug("source: inotify", "err", err)
			}
			w.next, w.rescan = time.Now(), time.Time{}
		case <-w.reload:
			w.reader = newReader()
			w.settle.accepted = nil
			w.next, w.rescan = time.Now(), time.Time{}
		case <-timer.C:
			w.round()
		}
		timer.Reset(time.Until(w.next))
	}
}

// event re-arms the quiet time. While someone keeps writing it is worth
// looking only when that has to be reported.
func (w *Watcher) event(e fsnotify.Event) {
	now := time.Now()
	switch w.watches.effect(e) {
	case nothing:
		return
	case moved:
		w.next = now
	case dirty:
		w.next = now.Add(w.o.Quiet)
	}
	if w.dirtySince.IsZero() {
		w.dirtySince = now
	}
	if limit := w.dirtySince.Add(w.o.Wait); limit.After(now) && limit.Before(w.next) {
		w.next = limit
	}
}

// round looks at the directory once and does what follows from it.
func (w *Watcher) round() {
	l := w.look()
	now := time.Now()
	first := w.Latest().Tree.Digest == ""
	v := w.settle.judge(l, now, first)
	if v.kind == whole {
		v = w.accept(l)
	}
	switch v.kind {
	case unchanged:
		w.clean(now)
		w.publish(w.outcome(w.settle.accepted.err))
	case broken:
		w.settle.accepted = l
		w.clean(now)
		w.publish(w.outcome(l.err))
	case tooEarly:
		w.postpone(now, v)
	}
}

// look looks, and brings the watches in line with what it saw, until nothing
// can have happened between looking and watching.
func (w *Watcher) look() *look {
	renew := time.Since(w.rescan) >= w.o.Rescan
	if renew {
		w.rescan = time.Now()
	}
	l := w.settle.accepted
	for range 5 {
		start := time.Now()
		l = lookAt(w.o.Root, l)
		w.lookTook = time.Since(start)
		if !w.watch(l, renew) {
			return l
		}
		renew = false
	}
	l.err = fmt.Errorf("%w: folders in %s come and go", ErrUnstable, w.o.Root)
	return l
}

// accept reads the files and makes the tree the latest one.
func (w *Watcher) accept(l *look) verdict {
	tree, err := w.reader.read(w.o.Root, l)
	if errors.Is(err, ErrUnstable) {
		return verdict{tooEarly, w.settle.retry(), err.Error()}
	}
	if err != nil {
		l.err = err
		return verdict{kind: broken}
	}
	w.settle.accepted = l
	if w.reader.racy() {
		w.settle.accepted = nil // look at the contents again when next asked
	}
	w.clean(time.Now())
	s := w.outcome(nil)
	s.Tree = tree
	w.publish(s)
	return verdict{kind: taken}
}

// clean ends a time of change.
func (w *Watcher) clean(now time.Time) {
	w.dirtySince = time.Time{}
	w.next = now.Add(w.o.Rescan)
	if w.pollReason != "" && w.o.Mode != ModeInotify {
		w.next = now.Add(min(pollEvery(w.lookTook), w.o.Rescan))
	}
}

// postpone looks again later, and says so if it has been later for long.
func (w *Watcher) postpone(now time.Time, v verdict) {
	if w.dirtySince.IsZero() {
		w.dirtySince = now
	}
	w.next = now.Add(v.wait)
	if now.Sub(w.dirtySince) < w.o.Wait {
		return
	}
	s := w.outcome(nil)
	s.State, s.Problem = StateUnstable, v.why
	w.publish(s)
}
