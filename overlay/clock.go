package overlay

import (
	"fmt"
	"time"
)

// Stamp is a reading of a hybrid logical clock: milliseconds since 1970 in
// the upper 48 bits, a counter in the lower 16. Later is greater. Zero is
// before every reading.
type Stamp uint64

// StampOf gives the first stamp of a moment; moments before 1970 give zero.
func StampOf(t time.Time) Stamp {
	return Stamp(uint64(max(t.UnixMilli(), 0)) << 16)
}

// Time gives the moment of the stamp, to the millisecond.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s >> 16)) }

// String formats the stamp as a time in UTC and the counter.
func (s Stamp) String() string {
	return fmt.Sprintf("%s+%d", s.Time().UTC().Format("2006-01-02T15:04:05.000Z"), uint16(s))
}

// clock is a hybrid logical clock (Kulkarni and others, 2014): it never goes
// back, it follows the wall clock where it can, and a reading is later than
// every stamp that was observed before.
type clock struct{ last Stamp }

// next gives a new reading, later than all readings and observed stamps.
func (c *clock) next(now time.Time) Stamp {
	c.last = max(c.last+1, StampOf(now))
	return c.last
}

// observe makes later readings exceed s. The caller has refused stamps from
// the far future, see tooFarAhead.
func (c *clock) observe(s Stamp) { c.last = max(c.last, s) }

// maxAhead is how far ahead of ours another clock may be. What claims to be
// from later is refused: observing it would drag every clock along.
const maxAhead = 24 * time.Hour

func tooFarAhead(s Stamp, now time.Time) bool {
	return s > StampOf(now.Add(maxAhead))
}
