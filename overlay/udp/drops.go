package udp

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"
)

// warnEvery is how often at most one reason is warned about.
const warnEvery = time.Minute

// drops counts dropped packets and lets one in a minute and reason through
// to the log. A reason is armed until a packet was dropped for it; the
// goroutine that disarms it sends a sample to the reporter, who arms it again
// a minute later. So a sample never waits for room, and the path of a packet
// touches two atomic words.
type drops struct {
	counts  [reasons]atomic.Uint64
	armed   atomic.Uint32 // bit per reason
	samples chan sample
}

// sample is one dropped packet.
type sample struct {
	reason Reason
	total  uint64 // packets dropped for the reason so far
	outer  netip.AddrPort
	inner  header
	err    error
}

func newDrops() *drops {
	d := &drops{samples: make(chan sample, reasons)}
	for r := accepted + 1; r < reasons; r++ {
		if r.loud() {
			d.armed.Or(1 << r)
		}
	}
	return d
}

// add counts a dropped packet. The outer address is that of the far end, if
// it is known; err is what the kernel said, if it did.
func (d *drops) add(r Reason, outer netip.AddrPort, packet []byte, err error) {
	d.addMany(1, r, outer, packet, err)
}

// addMany counts n packets that were dropped together, of which one is shown.
func (d *drops) addMany(n uint64, r Reason, outer netip.AddrPort, packet []byte, err error) {
	total := d.counts[r].Add(n)
	bit := uint32(1) << r
	if d.armed.Load()&bit == 0 || d.armed.And(^bit)&bit == 0 {
		return
	}
	inner, _ := parseHeader(packet)
	d.samples <- sample{r, total, outer, inner, err}
}

// report logs samples until the context ends.
func (d *drops) report(ctx context.Context, log *slog.Logger) {
	var timers [reasons]*time.Timer
	var logged [reasons]uint64
	defer func() {
		for _, t := range timers {
			if t != nil {
				t.Stop()
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-d.samples:
			log.Warn("tunnel dropped packets", s.attributes(s.total-logged[s.reason])...)
			logged[s.reason] = s.total
			timers[s.reason] = time.AfterFunc(warnEvery, func() { d.armed.Or(1 << s.reason) })
		}
	}
}

// attributes describes the sample; packets is how many were dropped for the
// same reason since the last warning.
func (s sample) attributes(packets uint64) []any {
	list := []any{"reason", s.reason.String(), "packets", packets}
	if s.outer.IsValid() {
		list = append(list, "peer", s.outer)
	}
	if s.inner.source.IsValid() {
		list = append(list, "source", s.inner.source, "destination", s.inner.destination)
	}
	if s.err != nil {
		list = append(list, "error", s.err)
	}
	return list
}
