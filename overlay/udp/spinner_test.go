//go:build linux

package udp

import (
	"testing"
	"testing/synctest"
	"time"
)

const testSpin = 100 * time.Microsecond

// spinAll looks again until the spinner has enough, a fifth of its limit
// later each time, and returns how often that was.
func spinAll(s *spinner) (looks int) {
	for s.again() {
		looks++
		time.Sleep(testSpin / 5)
	}
	return looks
}

// spinFound looks again, and finds a packet after a while: an answer to what
// was sent, or not. It reports whether it was awake then.
func spinFound(s *spinner, answer bool, after time.Duration) bool {
	if answer {
		s.sent()
	}
	for ; after > 0; after -= testSpin / 5 {
		if !s.again() {
			s.found()
			return false
		}
		time.Sleep(testSpin / 5)
	}
	s.found()
	return true
}

func TestSpinnerTriesNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, tries := spinner{limit: testSpin}, 0
		const waits = 20 * resumeAfter
		for range waits {
			if looks := spinAll(&s); looks > 0 {
				tries++
				if looks > 7 {
					t.Fatalf("looked %d times, a fifth of the limit apart", looks)
				}
			}
			s.found() // what woke it
		}
		if tries < waits/resumeAfter || tries > waits/resumeAfter+1 {
			t.Errorf("%d tries in %d waits that were all longer than the limit", tries, waits)
		}
	})
}

func TestSpinnerStaysAwake(t *testing.T) {
	const packets = 4 * resumeAfter
	for name, c := range map[string]struct {
		answers       bool
		after         time.Duration
		least, atMost int // packets that find it awake
	}{
		"for answers":          {true, testSpin * 3 / 5, packets - resumeAfter, packets},
		"for a busy stream":    {false, testSpin * 2 / 5, packets - resumeAfter, packets},
		"not for a thin one":   {false, testSpin * 4 / 5, 0, 0},
		"nor for late answers": {true, testSpin * 7 / 5, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, awake := spinner{limit: testSpin}, 0
				for range packets {
					if spinFound(&s, c.answers, c.after) {
						awake++
					}
				}
				if awake < c.least || awake > c.atMost {
					t.Errorf("awake for %d of %d packets, want %d to %d", awake, packets, c.least, c.atMost)
				}
				// They end: a few tries more, then none without packets.
				tries := 0
				for range resumeAfter {
					if spinAll(&s) > 0 {
						tries++
					}
					s.found()
				}
				if tries > mostCredit/failedSpin+2 {
					t.Errorf("still %d tries in %d waits", tries, resumeAfter)
				}
			})
		})
	}
}

func TestSpinnerWithoutTheRung(t *testing.T) {
	for i, s := range (Tuning{Rungs: AllRungs &^ Spin}).spinners() {
		if s.again() {
			t.Errorf("lane %d looks again", i)
		}
	}
}
