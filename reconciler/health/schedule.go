package health

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/poplin-net/poplin/schema"
)

const (
	// spread is over which time the first looks at pods that are met at once
	// are spread.
	spread = 500 * time.Millisecond
	// firstRetry is after what time a pod that was never ready is looked at
	// again; it doubles with each failure up to the probe's period. Kubernetes
	// also looks more often than the period at containers that are not ready.
	firstRetry = time.Second
	// jitter is by which share of itself a period varies.
	jitter = 0.05

	// Looks for listeners: the longest and the shortest pause, and which part
	// of the time that it has waited for a pod it may find it too late.
	longestLook  = time.Second
	shortestLook = 100 * time.Millisecond
	lateness     = 20
)

// schedule says when a probe looks next, and what its looks mean: the rules
// of Kubernetes' prober (pkg/kubelet/prober/worker.go).
type schedule struct {
	probe schema.Probe
	ready bool
	was   bool // ready at any time
	last  bool // outcome of the last look
	run   int  // looks in a row with that outcome
}

func newSchedule(probe schema.Probe, held bool) *schedule {
	return &schedule{probe: probe, ready: held, was: held}
}

// first is the time to the first look. A pod that was ready before has had
// its initial delay.
func (s *schedule) first() time.Duration {
	d := rand.N(min(spread, s.probe.Period))
	if !s.was {
		d += s.probe.InitialDelay
	}
	return d
}

// add takes the outcome of a look and returns whether the probe now says that
// it is ready.
func (s *schedule) add(success bool) bool {
	if s.run > 0 && success == s.last {
		s.run++
	} else {
		s.last, s.run = success, 1
	}
	switch {
	case success && s.run >= s.probe.SuccessThreshold:
		s.ready, s.was = true, true
	case !success && s.run >= s.probe.FailureThreshold:
		s.ready = false
	}
	return s.ready
}

// next is the time to the next look.
func (s *schedule) next() time.Duration {
	d := s.probe.Period
	if !s.was && !s.last && s.run < 16 {
		d = min(d, firstRetry<<(s.run-1))
	}
	return d + time.Duration((rand.Float64()*2-1)*jitter*float64(d))
}

// listenPause is the time to the next look for listeners, after having waited
// for so long. No event tells of a new one.
func listenPause(ready bool, since time.Duration) time.Duration {
	if ready {
		return longestLook
	}
	return min(longestLook, max(shortestLook, since/lateness))
}

// describe names a probe in a few words.
func describe(p schema.Probe) string {
	switch {
	case p.TCP != nil:
		return "tcpSocket " + target(p.TCP.Host, p.TCP.Port)
	case p.HTTP != nil:
		return "httpGet " + target(p.HTTP.Host, p.HTTP.Port) + p.HTTP.Path
	}
	return "exec " + clip(strings.Join(p.Exec, " "), 60)
}

func target(host netip.Addr, port uint16) string {
	if !host.IsValid() {
		return fmt.Sprintf(":%d", port)
	}
	return netip.AddrPortFrom(host, port).String()
}

// clip makes one line of a text and shortens it to n bytes.
func clip(text string, n int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > n {
		text = strings.ToValidUTF8(text[:n], "") + "…"
	}
	return text
}
