package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// watch is what is known of one pod. The Prober's mutex guards it.
type watch struct {
	pod      Pod
	verdicts []verdict // one per probe; one in all for listening; none: ready
	started  bool
	ended    bool
	stop     context.CancelFunc // once it is started
}

// verdict is what one kind of look has found so far.
type verdict struct {
	ready  bool
	reason string
}

// unseen is the reason of a pod that was not looked at yet.
const unseen = "was not looked at yet"

func newWatch(pod Pod, held bool) *watch {
	n := len(pod.Probes)
	if n == 0 && len(pod.TCPPorts) > 0 {
		n = 1
	}
	return &watch{pod: pod, verdicts: slices.Repeat([]verdict{{held, unseen}}, n)}
}

// result combines the verdicts.
func (w *watch) result() Result {
	var reasons []string
	for _, v := range w.verdicts {
		if !v.ready {
			reasons = append(reasons, v.reason)
		}
	}
	return Result{Ready: len(reasons) == 0, Reason: strings.Join(reasons, "; ")}
}

func (w *watch) end() {
	w.ended = true
	if w.stop != nil {
		w.stop()
	}
}

// Run looks at the pods until ctx ends.
func (p *Prober) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.poke:
		}
		p.start(ctx, &tasks)
	}
}

// start starts the watches that are new.
func (p *Prober) start(ctx context.Context, tasks *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watches {
		if w.started || w.ended {
			continue
		}
		w.started = true
		var each context.Context
		each, w.stop = context.WithCancel(ctx)
		for i := range w.pod.Probes {
			tasks.Go(func() { p.keepProbing(each, w, i) })
		}
		if len(w.pod.Probes) == 0 && len(w.pod.TCPPorts) > 0 {
			tasks.Go(func() { p.keepListening(each, w) })
		}
	}
}

// verdict returns what a watch's probe has found so far.
func (p *Prober) verdict(w *watch, i int) verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.verdicts[i]
}

// judge records a verdict, and tells of a change of the pod's readiness.
func (p *Prober) judge(w *watch, i int, v verdict) {
	p.mu.Lock()
	before := w.result().Ready
	w.verdicts[i] = v
	after := w.result()
	ended := w.ended
	p.mu.Unlock()
	if before == after.Ready || ended {
		return
	}
	if after.Ready {
		p.log.Info("pod is ready", "pod", w.pod.Name.String())
	} else {
		p.log.Warn("pod is not ready any more", "pod", w.pod.Name.String(), "reason", after.Reason)
	}
	signal(p.changes)
}

// keepProbing makes the looks of one probe.
func (p *Prober) keepProbing(ctx context.Context, w *watch, i int) {
	probe := w.pod.Probes[i]
	s := newSchedule(probe, p.verdict(w, i).ready)
	for delay := s.first(); pause(ctx, delay); delay = s.next() {
		if probe.Exec != nil {
			select {
			case p.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
		err := p.probeOnce(ctx, w, i)
		if probe.Exec != nil {
			<-p.slots
		}
		if ctx.Err() != nil {
			return
		}
		v := verdict{ready: s.add(err == nil)}
		if err != nil {
			v.reason = describe(probe) + ": " + err.Error()
		} else if !v.ready {
			v.reason = fmt.Sprintf("%s: has not succeeded %d times in a row yet", describe(probe), probe.SuccessThreshold)
		}
		p.judge(w, i, v)
	}
}

func (p *Prober) probeOnce(ctx context.Context, w *watch, i int) error {
	probe := w.pod.Probes[i]
	ctx, cancel := context.WithTimeout(ctx, probe.Timeout)
	defer cancel()
	err := p.looks.probe(ctx, w.pod, probe)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", probe.Timeout)
	}
	return err
}

// keepListening looks for listeners on a pod's ports.
func (p *Prober) keepListening(ctx context.Context, w *watch) {
	var open listeners
	defer func() {
		if open != nil {
			open.Close()
		}
	}()
	ready := p.verdict(w, 0).ready
	for since := time.Now(); ; {
		missing, err := p.lookForListeners(&open, w.pod)
		v := verdict{ready: ready}
		switch {
		case err != nil:
			v.reason = "cannot see who listens: " + err.Error()
		default:
			v = verdict{ready: len(missing) == 0, reason: notListening(missing)}
		}
		if v.ready != ready {
			ready, since = v.ready, time.Now()
		}
		p.judge(w, 0, v)
		if !pause(ctx, listenPause(ready && err == nil, time.Since(since))) {
			return
		}
	}
}

// lookForListeners opens what it asks where that is not open, and closes it
// after an error.
func (p *Prober) lookForListeners(open *listeners, pod Pod) ([]uint16, error) {
	if *open == nil {
		l, err := p.looks.listeners(pod)
		if err != nil {
			return nil, err
		}
		if l == (blind{}) {
			p.sightless.Do(func() { p.log.Warn("pods without probes count as ready at once", "reason", errNoDiag) })
		}
		*open = l
	}
	missing, err := (*open).missing(pod.Addresses, pod.TCPPorts)
	if err != nil {
		(*open).Close()
		*open = nil
	}
	return missing, err
}

func notListening(ports []uint16) string {
	words := make([]string, len(ports))
	for i, port := range ports {
		words[i] = fmt.Sprint(port)
	}
	return "nothing listens on TCP port " + strings.Join(words, ", ")
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
