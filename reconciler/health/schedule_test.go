package health

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poplin-net/poplin/schema"
)

// fake looks at nothing: tests say what it finds.
type fake struct {
	mu       sync.Mutex
	outcome  func(ctx context.Context) error // of probes
	probed   []time.Time
	silent   []uint16 // ports without listener
	asked    []time.Time
	open     int
	listenOK error
}

func (f *fake) probe(ctx context.Context, _ Pod, _ schema.Probe) error {
	f.mu.Lock()
	f.probed = append(f.probed, time.Now())
	outcome := f.outcome
	f.mu.Unlock()
	if outcome == nil {
		return nil
	}
	return outcome(ctx)
}

func (f *fake) listeners(Pod) (listeners, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listenOK == nil {
		f.open++
	}
	return f, f.listenOK
}

func (f *fake) missing(_ []netip.Addr, ports []uint16) ([]uint16, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, time.Now())
	return slices.DeleteFunc(slices.Clone(ports), func(p uint16) bool { return !slices.Contains(f.silent, p) }), nil
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	return nil
}

// set changes what the fake finds.
func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) looks() (probed, asked int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.probed), len(f.asked)
}

func failing(context.Context) error { return errors.New("fails") }

var (
	name  = schema.Name{Namespace: "default", Name: "web"}
	plain = schema.Probe{TCP: &schema.TCPProbe{Port: 80}, Period: 10 * time.Second, Timeout: time.Second, SuccessThreshold: 1, FailureThreshold: 3}
)

func podWith(probes ...schema.Probe) Pod {
	return Pod{Name: name, Netns: "n", Instance: 1, Probes: probes}
}

// prober runs a Prober in the bubble of a test.
func prober(t *testing.T, f *fake, pods ...Pod) *Prober {
	p := newProber(f, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if f.open != 0 {
			t.Errorf("%d sockets are left open", f.open)
		}
	})
	p.Configure(pods)
	synctest.Wait()
	return p
}

// after lets time pass and checks whether the pod is ready then.
func after(t *testing.T, p *Prober, d time.Duration, ready bool) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if r := p.Results()[name]; r.Ready != ready || r.Ready == (r.Reason != "") {
		t.Fatalf("after %v: %+v, want ready %v", d, r, ready)
	}
}

func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probe := plain
		probe.InitialDelay, probe.SuccessThreshold = 5*time.Second, 2
		f := &fake{}
		p := prober(t, f, podWith(probe))
		after(t, p, 4900*time.Millisecond, false)
		if n, _ := f.looks(); n != 0 {
			t.Fatalf("%d looks within the initial delay", n)
		}
		after(t, p, time.Second, false) // one success of two
		after(t, p, 11*time.Second, true)
		f.set(func(f *fake) { f.outcome = failing })
		after(t, p, 21500*time.Millisecond, true) // two failures of three
		f.set(func(f *fake) { f.outcome = nil })
		after(t, p, 10500*time.Millisecond, true)
		f.set(func(f *fake) { f.outcome = failing })
		after(t, p, 32*time.Second, false)
		f.set(func(f *fake) { f.outcome = nil })
		after(t, p, 21*time.Second, true)
	})
}

// TestPeriod: the period with its jitter once the pod was ready; more often
// before.
func TestPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{outcome: failing}
		p := prober(t, f, podWith(plain))
		after(t, p, 17*time.Second, false)
		if n, _ := f.looks(); n != 5 { // 0, 1, 3, 7, 15 seconds
			t.Errorf("%d looks at a new pod", n)
		}
		f.set(func(f *fake) { f.outcome = nil })
		after(t, p, 12*time.Second, true)
		before, _ := f.looks()
		time.Sleep(1000 * time.Second)
		synctest.Wait()
		if n, _ := f.looks(); n-before < 95 || n-before > 106 {
			t.Errorf("%d looks in 1000 s", n-before)
		}
		gaps := map[time.Duration]bool{}
		for i := before + 1; i < len(f.probed); i++ {
			gap := f.probed[i].Sub(f.probed[i-1])
			gaps[gap] = true
			if gap < 9500*time.Millisecond || gap > 10500*time.Millisecond {
				t.Errorf("a period of %v", gap)
			}
		}
		if len(gaps) < 50 {
			t.Errorf("only %d different periods", len(gaps))
		}
		if got := p.Results()[name]; !got.Ready {
			t.Error(got)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{outcome: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		probe := plain
		probe.Timeout = 2 * time.Second
		p := prober(t, f, podWith(probe))
		after(t, p, 2600*time.Millisecond, false)
		if got, want := p.Results()[name].Reason, "tcpSocket :80: no answer within 2s"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// TestCommandsAreBounded: so many exec probes at one time, and all get their
// turn.
func TestCommandsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		f := &fake{outcome: func(ctx context.Context) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(600 * time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}}
		probe := plain
		probe.TCP, probe.Exec = nil, []string{"true"}
		p := prober(t, f, podWith(slices.Repeat([]schema.Probe{probe}, 3*maxCommands)...))
		after(t, p, 4*time.Second, true)
		if most != maxCommands {
			t.Errorf("%d commands at one time", most)
		}
	})
}

// TestListening: looks are frequent while a server is to be expected, and
// rare when it is there or has not come for long.
func TestListening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{silent: []uint16{80}}
		p := prober(t, f, Pod{Name: name, TCPPorts: []uint16{80, 81}})
		after(t, p, time.Second, false)
		if got, want := p.Results()[name].Reason, "nothing listens on TCP port 80"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if _, n := f.looks(); n < 9 || n > 11 {
			t.Errorf("%d looks in the first second", n)
		}
		f.set(func(f *fake) { f.silent = nil })
		after(t, p, 150*time.Millisecond, true)
		_, before := f.looks()
		after(t, p, 10*time.Second, true)
		if _, n := f.looks(); n-before > 11 {
			t.Errorf("%d looks in 10 s at a pod that is ready", n-before)
		}
		f.set(func(f *fake) { f.silent = []uint16{81} })
		after(t, p, 1100*time.Millisecond, false)
		after(t, p, time.Hour, false)
		_, before = f.looks()
		after(t, p, 10*time.Second, false)
		if _, n := f.looks(); n-before > 11 {
			t.Errorf("%d looks in 10 s at a pod that has no server", n-before)
		}
	})
}

// TestTroubleChangesNothing: what cannot be seen stays as it was.
func TestTroubleChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{listenOK: errors.New("no file descriptors")}
		p := prober(t, f, Pod{Name: name, TCPPorts: []uint16{80}, Held: true})
		after(t, p, 10*time.Second, true)
		f.set(func(f *fake) { f.listenOK, f.silent = nil, []uint16{80} })
		after(t, p, 1500*time.Millisecond, false)
	})
}

// TestWhatIsKnown: readiness over restarts and reconfigurations.
func TestWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{outcome: failing}
		pod := podWith(plain)
		pod.Held = true
		p := prober(t, f, pod)
		after(t, p, 0, true)
		after(t, p, 18500*time.Millisecond, true)
		after(t, p, 3500*time.Millisecond, false) // the third failure

		// Nothing changed: nothing starts anew.
		again := podWith(plain) // a probe of equal content
		probed, _ := f.looks()
		p.Configure([]Pod{again})
		after(t, p, time.Second, false)
		if n, _ := f.looks(); n != probed {
			t.Error("a pod that did not change was looked at anew")
		}

		// Another probe: what was known counts until it is looked at.
		f.set(func(f *fake) { f.outcome = nil })
		after(t, p, 11*time.Second, true)
		f.set(func(f *fake) { f.outcome = failing })
		other := plain
		other.InitialDelay, other.FailureThreshold = time.Minute, 1
		p.Configure([]Pod{podWith(other)})
		after(t, p, 0, true)
		after(t, p, time.Second, false)

		// Another namespace: nothing is known.
		f.set(func(f *fake) { f.outcome = nil })
		fresh := podWith(plain)
		p.Configure([]Pod{fresh})
		after(t, p, time.Second, true)
		fresh.Instance = 2
		p.Configure([]Pod{fresh})
		after(t, p, 0, false)
		after(t, p, time.Second, true)

		p.Configure(nil)
		if got := p.Results(); len(got) != 0 {
			t.Error(got)
		}
	})
}

// TestReadyAtOnce: without probes and TCP ports there is nothing to look at.
func TestReadyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := prober(t, &fake{}, Pod{Name: name})
		after(t, p, 0, true)
		select {
		case <-p.Changes():
		default:
			t.Error("no signal")
		}
		p.Configure([]Pod{{Name: name}})
		select {
		case <-p.Changes():
			t.Error("a signal although nothing changed")
		default:
		}
	})
}

// TestChanges: one signal for what changed, none for what stays.
func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		second := plain
		second.HTTP, second.TCP = &schema.HTTPProbe{Port: 81, Path: "/"}, nil
		p := prober(t, f, podWith(plain, second))
		changed := func() bool {
			synctest.Wait()
			select {
			case <-p.Changes():
				return true
			default:
				return false
			}
		}
		after(t, p, time.Second, true)
		if !changed() {
			t.Error("no signal")
		}
		after(t, p, time.Minute, true)
		if changed() {
			t.Error("a signal although nothing changed")
		}
		f.set(func(f *fake) { f.outcome = failing })
		after(t, p, time.Minute, false)
		if !changed() {
			t.Error("no signal")
		}
		if got, want := p.Results()[name].Reason, "tcpSocket :80: fails; httpGet :81/: fails"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
