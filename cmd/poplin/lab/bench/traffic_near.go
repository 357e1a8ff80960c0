//go:build linux

package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Sample is one measurement.
type Sample struct {
	Value float64 `json:"value"`         // in the unit of what is measured
	P99   float64 `json:"p99,omitempty"` // of round trips, µs
	Bytes int64   `json:"bytes,omitempty"`
	CPU   float64 `json:"cpu,omitempty"` // seconds of both ends
	MTU   int     `json:"mtu,omitempty"`
}

// Near measures from pod a to pod b: "tcp" with a number of streams, "udp"
// with a size in bytes, "trip", each for a while; "verify" and "mtu".
func Near(ctx context.Context, args []string) (Sample, error) {
	number, while := 0, time.Duration(0)
	var err error
	if len(args) > 2 {
		number, err = strconv.Atoi(args[1])
	}
	if err == nil && len(args) > 1 {
		while, err = time.ParseDuration(args[len(args)-1])
	}
	if err != nil {
		return Sample{}, err
	}
	count, err := dial(ctx, portCount)
	if err != nil {
		return Sample{}, err
	}
	defer count.Close()
	n := near{count, json.NewDecoder(count)}
	switch args[0] {
	case "mtu":
		return n.mtu()
	case "verify":
		return n.verify(ctx, 64<<20)
	case "tcp":
		if _, err := exec.LookPath("iperf3"); err == nil {
			return iperf(ctx, number, while)
		}
		return n.streams(ctx, number, while)
	case "udp":
		return n.datagrams(number, while)
	case "trip":
		return n.trips(ctx, while)
	}
	return Sample{}, fmt.Errorf("%q is no measurement", args[0])
}

// near asks the far end what arrived.
type near struct {
	count  net.Conn
	answer *json.Decoder
}

func (n *near) arrived() (a Arrived, err error) {
	if _, err := n.count.Write([]byte{'?'}); err != nil {
		return a, err
	}
	return a, n.answer.Decode(&a)
}

func dial(ctx context.Context, port string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	return dialer.DialContext(ctx, "tcp", overlayFar+port)
}

func (n *near) mtu() (Sample, error) {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return Sample{}, err
	}
	return Sample{MTU: link.MTU}, nil
}

// verify sends random bytes, and compares hashes.
func (n *near) verify(ctx context.Context, size int64) (Sample, error) {
	s, err := n.mtu()
	if err != nil {
		return s, err
	}
	c, err := dial(ctx, portSink)
	if err != nil {
		return s, err
	}
	defer c.Close()
	sum := sha256.New()
	if _, err := c.Write([]byte{'h'}); err != nil {
		return s, err
	}
	if s.Bytes, err = io.CopyN(io.MultiWriter(c, sum), rand.Reader, size); err != nil {
		return s, err
	}
	got, err := finish(c)
	if err == nil && !bytes.Equal(got, sum.Sum(nil)) {
		err = errors.New("what arrived is not what was sent")
	}
	return s, err
}

// finish ends a stream, and waits until all of it has arrived.
func finish(c net.Conn) ([]byte, error) {
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(c)
}

// streams sends as much as possible through some connections at a time.
func (n *near) streams(ctx context.Context, streams int, while time.Duration) (Sample, error) {
	before, err := n.arrived()
	if err != nil {
		return Sample{}, err
	}
	cpu, started := ownCPU(), time.Now()
	sent, failures := make(chan int64, streams), make(chan error, streams)
	for range streams {
		go func() {
			bytes, err := stream(ctx, started.Add(while))
			failures <- err
			sent <- bytes
		}()
	}
	var s Sample
	for range streams {
		s.Bytes += <-sent
	}
	elapsed := time.Since(started)
	after, err := n.arrived()
	s.CPU = ownCPU() - cpu + after.CPU - before.CPU
	s.Value = float64(s.Bytes) * 8 / 1e9 / elapsed.Seconds()
	return s, errors.Join(err, errOf(failures))
}

// errOf joins errors of goroutines that have ended.
func errOf(list chan error) (err error) {
	close(list)
	for e := range list {
		err = errors.Join(err, e)
	}
	return err
}

func stream(ctx context.Context, end time.Time) (sent int64, err error) {
	c, err := dial(ctx, portSink)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buffer := make([]byte, 128<<10)
	for time.Now().Before(end) {
		n, err := c.Write(buffer)
		if sent += int64(n); err != nil {
			return sent, err
		}
	}
	_, err = finish(c)
	return sent, err
}

// iperf lets iperf3 do the same.
func iperf(ctx context.Context, streams int, while time.Duration) (s Sample, err error) {
	out, err := exec.CommandContext(ctx, "iperf3", "-J", "-c", overlayFar,
		"-P", strconv.Itoa(streams), "-t", strconv.Itoa(max(1, int(while.Seconds()+0.5)))).Output()
	var report struct {
		End struct {
			Received struct {
				Bytes   int64   `json:"bytes"`
				Seconds float64 `json:"seconds"`
			} `json:"sum_received"`
			CPU struct {
				Near float64 `json:"host_total"`   // per cent of the time
				Far  float64 `json:"remote_total"` // per cent
			} `json:"cpu_utilization_percent"`
		} `json:"end"`
		Error string `json:"error"`
	}
	if e := json.Unmarshal(out, &report); e != nil || report.Error != "" || err != nil {
		return s, fmt.Errorf("iperf3: %w", errors.Join(err, e, errors.New(report.Error)))
	}
	r := report.End.Received
	s.Bytes, s.Value = r.Bytes, float64(r.Bytes)*8/1e9/r.Seconds
	s.CPU = (report.End.CPU.Near + report.End.CPU.Far) / 100 * r.Seconds
	return s, nil
}

// trips sends a byte and waits for its echo, again and again.
func (n *near) trips(ctx context.Context, while time.Duration) (Sample, error) {
	c, err := dial(ctx, portEcho)
	if err != nil {
		return Sample{}, err
	}
	defer c.Close()
	r, err := newRawConn(c)
	if err != nil {
		return Sample{}, err
	}
	defer r.close()
	var times []float64
	one := []byte{'x'}
	for started := time.Now(); time.Since(started) < while; {
		before := time.Now()
		if err := r.write(one); err != nil {
			return Sample{}, err
		}
		if k, err := r.read(one); err != nil || k != 1 {
			return Sample{}, fmt.Errorf("the echo ended: %w", errors.Join(err, io.ErrUnexpectedEOF))
		}
		times = append(times, float64(time.Since(before))/float64(time.Microsecond))
	}
	return Sample{Value: quantile(times, 0.5), P99: quantile(times, 0.99)}, nil
}

// ownCPU is the processor time in seconds that this process has used.
func ownCPU() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
