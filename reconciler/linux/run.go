package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// sysctlAudit is how often settings are read that have no events.
	sysctlAudit = 5 * time.Second
	// podAudit is after how many of those every pod's namespace is read.
	podAudit = 12
	// longestRest bounds the pause after events that led to nothing.
	longestRest = 100 * time.Millisecond
)

// Run hears what happens to what is ours and feeds Changes until ctx ends.
// It is called at most once.
func (t *Target) Run(ctx context.Context) error {
	events, err := openEvents(true)
	if err != nil {
		return err
	}
	defer events.Close()
	neighbours, err := openEvents(false)
	if err != nil {
		return err
	}
	defer neighbours.Close()
	dir, err := t.mounts.watch()
	if err != nil {
		return err
	}
	defer dir.Close()
	t.listen(dir, neighbours)
	defer t.listen(nil, nil)

	// What happened before the socket was open is unknown.
	var all marks
	all.everything()
	t.dirt.put(all)
	t.live.Store(events.all)
	defer t.live.Store(false)
	if !events.all {
		t.log.Warn("without CAP_NET_BROADCAST changes inside pods are found only every few seconds", "every", sysctlAudit)
	}

	woken := make(chan struct{}, 1)
	woken <- struct{}{}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		return errors.Join(events.Close(), neighbours.Close(), dir.Close())
	})
	g.Go(func() error { return unlessDone(ctx, t.hear(events, woken)) })
	g.Go(func() error { return unlessDone(ctx, t.hear(neighbours, woken)) })
	g.Go(func() error { return unlessDone(ctx, t.watchDir(dir, woken)) })
	g.Go(func() error { t.check(ctx, woken); return nil })
	return g.Wait()
}

// unlessDone drops the error of a reader that was closed because ctx ended.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// hear marks what events concern.
func (t *Target) hear(events *eventSocket, woken chan<- struct{}) error {
	buf := make([]byte, 64<<10)
	for {
		msgs, nsid, err := events.receive(buf)
		var m marks
		switch {
		case errors.Is(err, errOverflow):
			t.log.Warn("kernel events were lost; reading everything again")
			m.everything()
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("events: %w", err)
		}
		busy := t.applying.Load()
		in := t.interest.Load()
		for _, msg := range msgs {
			if busy && nsid < 0 {
				m.host, m.sysctls, m.proxies, m.underlay = true, true, true, true
				break
			}
			m.add(in.judge(msg, nsid))
		}
		if busy && nsid >= 0 && in.pods[nsid] == "" {
			m.allPods = true
		}
		if !m.empty() {
			t.dirt.put(m)
			wake(woken)
		}
	}
}

// listen has what is read from now on say what these hear: the directories of
// files, and neighbours.
func (t *Target) listen(w *dirWatch, neighbours *eventSocket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch, t.watched, t.neighbours = w, false, neighbours
}

// watchDir marks the directory of namespaces, or files, when they change.
func (t *Target) watchDir(dir *dirWatch, woken chan<- struct{}) error {
	buf := make([]byte, 4<<10)
	for {
		m, err := dir.wait(buf)
		if err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("watching directories: %w", err)
		}
		if !m.empty() {
			t.dirt.put(m)
			wake(woken)
		}
	}
}

// check looks at what is marked, whenever it is woken, and at what has no
// events every few seconds. It kicks if something differs.
func (t *Target) check(ctx context.Context, woken <-chan struct{}) {
	tick := time.NewTicker(sysctlAudit)
	defer tick.Stop()
	ticks := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-tick.C:
			ticks++
			t.dirt.put(audit(ticks))
		}
		start := time.Now()
		if t.differs(ctx) {
			t.kick()
			continue
		}
		// However many events lead to nothing, looking at them takes at most
		// a tenth of a processor.
		rest(ctx, min(9*time.Since(start), longestRest))
	}
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// audit marks what is due at a tick.
func audit(ticks int) marks {
	m := marks{sysctls: true, proxies: true, underlay: true}
	if ticks%podAudit == 0 {
		m.everything()
	}
	return m
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// differs reads what is marked, and reports whether what is there now is
// news: neither what Observe last returned nor what Apply last aimed at.
func (t *Target) differs(ctx context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	underlay := t.underlayDiffers()
	if err := t.refresh(ctx, false); err != nil {
		// The next observation reports it, if it is still so.
		return ctx.Err() == nil
	}
	now := t.seen.prints
	objects := now.objects != t.returned.objects && now.objects != t.wanted
	return underlay || objects || now.conflicts != t.returned.conflicts
}
