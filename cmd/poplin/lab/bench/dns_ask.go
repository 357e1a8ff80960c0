//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Answers are what came of questions.
type Answers struct {
	Rate float64 `json:"rate"` // 1/s
	P50  float64 `json:"p50"`  // ms
	P99  float64 `json:"p99"`  // ms
	Lost int     `json:"lost"`
}

// askers is how many questions are under way at once.
const askers = 32

// askPatience is how long an answer may take.
const askPatience = 2 * time.Second

// Ask asks a server for the names of a file, lines NAME A, each asker one at
// a time, at a rate a second or with 0 as fast as it answers.
func Ask(ctx context.Context, server, file string, rate float64, while time.Duration) (Answers, error) {
	questions, err := readQuestions(file)
	if err != nil {
		return Answers{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, while)
	defer cancel()
	var mu sync.Mutex
	var all []float64
	var out Answers
	var group sync.WaitGroup
	failures := make(chan error, askers)
	for i := range askers {
		group.Go(func() {
			latencies, lost, err := ask(ctx, server, questions, i, rate/askers)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			out.Lost += lost
			if err != nil {
				failures <- err
			}
		})
	}
	group.Wait()
	out.Rate = float64(len(all)) / while.Seconds()
	out.P50, out.P99 = quantile(all, 0.5), quantile(all, 0.99)
	return out, errOf(failures)
}

// ask is one asker, with the latencies in ms.
func ask(ctx context.Context, server string, questions [][]byte, first int, rate float64) (latencies []float64, lost int, err error) {
	conn, err := net.Dial("udp", server)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	buffer := make([]byte, 1500)
	started := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		if rate > 0 {
			// Questions that are due go out at once: a pause of the asker is not the
			// server's.
			due := started.Add(time.Duration((float64(n) + float64(first)/askers) / rate * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait)
			}
		}
		q := bytes.Clone(questions[(first*len(questions)/askers+n)%len(questions)])
		binary.BigEndian.PutUint16(q, uint16(n))
		sent := time.Now()
		if _, err := conn.Write(q); err != nil {
			return latencies, lost, err
		}
		if err := conn.SetReadDeadline(sent.Add(askPatience)); err != nil {
			return latencies, lost, err
		}
		for {
			size, err := conn.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				lost++
				break
			}
			if err != nil {
				return latencies, lost, err
			}
			if size > 2 && binary.BigEndian.Uint16(buffer) == uint16(n) {
				latencies = append(latencies, milliseconds(time.Since(sent)))
				break
			}
		}
	}
	return latencies, lost, nil
}

// readQuestions makes a message of each line.
func readQuestions(file string) ([][]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		m := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // recursion desired, one question
		for label := range strings.SplitSeq(name, ".") {
			m = append(append(m, byte(len(label))), label...)
		}
		out = append(out, append(m, 0, 0, 1, 0, 1))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no names", file)
	}
	return out, nil
}

// Names is the upstream of the measured servers: it answers every question
// with one address until ctx ends.
func Names(ctx context.Context, at string) error {
	conn, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return nil // closed
		}
		end := bytes.IndexByte(buffer[12:n], 0) + 12 + 5
		if n < 17 || end > n {
			continue
		}
		m := bytes.Clone(buffer[:end])
		copy(m[2:], []byte{0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0})
		m = append(m, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 198, 51, 100, 7)
		_, _ = conn.WriteTo(m, from) // it asks again
	}
}

// Resident is the memory in MiB of the process of a server.
func Resident(server string) (float64, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		words := strings.Split(string(text), "\x00")
		if filepath.Base(words[0]) == server && (server != serverPoplin || words[1] == "run") {
			return sizes(filepath.Join(filepath.Dir(path), "status"), "VmRSS")
		}
	}
	return 0, fmt.Errorf("no %s runs here", server)
}
