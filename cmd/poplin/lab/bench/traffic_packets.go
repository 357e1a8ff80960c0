//go:build linux

package bench

import (
	"fmt"
	"net"
	"time"
)

const (
	// lossAllowed is the share of datagrams that may be lost at the rate that
	// counts.
	lossAllowed = 0.01
	// rateSteps is how many rates are tried after the first one.
	rateSteps = 6
	// packetBurst is how many datagrams are sent before the clock is looked at.
	packetBurst = 16
)

// datagrams looks for the highest rate at which next to nothing is lost, and
// says how many thousands arrive in a second then.
func (n *near) datagrams(size int, while time.Duration) (Sample, error) {
	c, err := net.Dial("udp", overlayFar+portPacket)
	if err != nil {
		return Sample{}, err
	}
	defer c.Close()
	step := max(while/(rateSteps+1), 50*time.Millisecond)
	first, err := n.try(c, size, 0, step)
	if err != nil {
		return Sample{}, err
	}
	if first.loss <= lossAllowed {
		return Sample{Value: first.arrived / 1000}, nil
	}
	best, low, high := 0.0, 0.0, first.sent
	// What arrived of too many is mostly near what can arrive.
	rate := min(first.arrived, 0.9*first.sent)
	for range rateSteps {
		t, err := n.try(c, size, rate, step)
		if err != nil {
			return Sample{}, err
		}
		if t.loss <= lossAllowed {
			best, low = max(best, t.arrived), rate
		} else {
			high = rate
		}
		rate = (low + high) / 2
	}
	return Sample{Value: best / 1000}, nil
}

// trial is what came of sending at a rate.
type trial struct {
	sent, arrived float64 // packets per second
	loss          float64 // share
}

// try sends at a rate (packets per second; 0: as fast as possible) for a
// while.
func (n *near) try(c net.Conn, size int, rate float64, while time.Duration) (trial, error) {
	before, err := n.arrived()
	if err != nil {
		return trial{}, err
	}
	packet, sent, started := make([]byte, size), 0, time.Now()
	for elapsed := time.Duration(0); elapsed < while; elapsed = time.Since(started) {
		if rate > 0 && float64(sent) > rate*elapsed.Seconds() {
			continue
		}
		for range packetBurst {
			if _, err := c.Write(packet); err != nil {
				return trial{}, fmt.Errorf("datagram: %w", err)
			}
		}
		sent += packetBurst
	}
	seconds := time.Since(started).Seconds()
	after, err := n.settled(before.Packets + int64(sent))
	if err != nil {
		return trial{}, err
	}
	arrived := float64(after.Packets - before.Packets)
	return trial{float64(sent) / seconds, arrived / seconds, 1 - arrived/float64(sent)}, nil
}

// settled waits until all has arrived, or no more does.
func (n *near) settled(all int64) (Arrived, error) {
	last, err := n.arrived()
	for err == nil && last.Packets < all {
		time.Sleep(20 * time.Millisecond)
		next, e := n.arrived()
		if e != nil || next.Packets == last.Packets {
			return next, e
		}
		last = next
	}
	return last, err
}
