//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

// Options say what is measured.
type Options struct {
	Name    string // of the lab
	Sizes   []Size // the smallest is what the others' connections are compared with
	Changes int    // of each kind
	Rounds  int    // of connections, in turns
	While   time.Duration
	// KubeProxy is up to how many services kube-proxy's layout is loaded; 0:
	// not at all.
	KubeProxy int
	Progress  func(string)
}

// The floors of a node with 10,000 services.
const (
	floorCold     = 2.0  // seconds in the kernel, with 10 endpoints each
	floorChange   = 5.0  // milliseconds from the snapshot to the commit
	floorRate     = 0.95 // of the rate with few services
	floorRatio    = 30.0 // times less time in the kernel than kube-proxy's layout, with an endpoint each
	floorServices = 10000
)

// Services measures services in a lab of its own: a node for each size, with
// a directory of its own.
func Services(ctx context.Context, o Options) (*Report, error) {
	dir, err := os.MkdirTemp("", "poplin-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &services{Options: o, report: &Report{APIVersion: "poplin/v1alpha1", Kind: "Bench", Bench: "services", Kernel: kernel(), CPUs: runtime.NumCPU()}}
	trees := map[string]string{}
	for _, s := range o.Sizes {
		t := tree{filepath.Join(dir, s.name()), o.Sizes}
		if err := t.start(); err != nil {
			return nil, err
		}
		trees[s.name()] = t.dir
		b.trees = append(b.trees, t)
	}
	env := append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "POPLIN_") }), "POPLIN_SOURCE_QUIET=20ms")
	spec, err := lab.Plan(lab.Options{Name: o.Name, Tree: b.trees[0].dir, Trees: trees, Env: env})
	if err != nil {
		return nil, err
	}
	launched, err := lab.Launch(ctx, &spec)
	if err != nil {
		return nil, err
	}
	err = b.run(ctx)
	launched.Close()
	_, downErr := lab.Down(o.Name)
	return b.report, errors.Join(err, downErr)
}

// services is one run.
type services struct {
	Options
	trees  []tree
	report *Report
	client *lab.Client
	logs   lab.Directory
	kernel map[Size]float64 // seconds of cold loads
}

func (b *services) run(ctx context.Context) error {
	var err error
	if b.client, err = lab.Open(b.Name); err != nil {
		return err
	}
	if b.logs, err = lab.OpenDirectory(b.Name); err != nil {
		return err
	}
	b.kernel = map[Size]float64{}
	if err := touchMemory(b.Sizes); err != nil {
		return err
	}
	for i, s := range b.Sizes {
		if err := b.ready(ctx, s.name()); err != nil {
			return err
		}
		b.Progress(fmt.Sprintf("%s: cold load", s))
		if err := b.cold(ctx, s, b.trees[i]); err != nil {
			return fmt.Errorf("%s: cold load: %w", s, err)
		}
		b.Progress(fmt.Sprintf("%s: %d changes of each kind", s, b.Changes))
		if err := b.changes(ctx, s, b.trees[i]); err != nil {
			return fmt.Errorf("%s: changes: %w", s, err)
		}
	}
	b.Progress("connections")
	if err := b.connections(ctx); err != nil {
		return fmt.Errorf("connections: %w", err)
	}
	return b.kubeProxy(ctx)
}

func (b *services) add(f Figure) { b.report.Figures = append(b.report.Figures, f) }

// ready waits until a node's daemon follows its documents.
func (b *services) ready(ctx context.Context, node string) error {
	return within(ctx, time.Minute, node+" is not in sync", func() bool {
		s, err := b.client.Status(ctx, node)
		return err == nil && s.InSync
	})
}

// patience is how long a node may take to follow a change, on a slow machine.
const patience = 5 * time.Minute

// cold fills a node's directory, and waits until the node has all of it.
func (b *services) cold(ctx context.Context, s Size, t tree) error {
	before, err := b.usage(ctx, s.name())
	if err != nil {
		return err
	}
	// The daemon is stopped meanwhile: it would take the first files for a tree.
	if err := b.client.Stop(ctx, s.name()); err != nil {
		return err
	}
	if err := t.fill(s); err != nil {
		return err
	}
	log, err := FollowLog(b.logs.Log(s.name()))
	if err != nil {
		return err
	}
	defer log.Close()
	if err := b.client.Start(ctx, s.name()); err != nil {
		return err
	}
	line, err := log.Applied(ctx, func(a Applied) bool { return a.Reaction > 0 && a.Add >= s.Services })
	if err != nil {
		return err
	}
	after, err := b.usage(ctx, s.name())
	if err != nil {
		return err
	}
	b.kernel[s] = after.Kernel
	kernel := figure(s.String(), "cold load: kernel time of the daemon", "s", []float64{after.Kernel})
	if s.Services == floorServices && s.Endpoints == 10 {
		kernel = kernel.atMost(floorCold)
	}
	b.add(kernel)
	b.add(figure(s.String(), "cold load: user time of the daemon", "s", []float64{after.User}))
	b.add(figure(s.String(), "cold load: from snapshot to commit", "s", []float64{line.Reaction.Seconds()}))
	b.add(figure(s.String(), "memory of the daemon", "MiB", []float64{after.RSS}))
	b.add(figure(s.String(), "memory of the kernel (slab and vmalloc of the machine, difference)", "MiB", []float64{after.KernelMemory - before.KernelMemory}))
	return nil
}

// changes edits one file at a time. Kinds of changes take turns.
func (b *services) changes(ctx context.Context, s Size, t tree) error {
	log, err := FollowLog(b.logs.Log(s.name()))
	if err != nil {
		return err
	}
	defer log.Close()
	changed, extra := s.Services/3, s.Services // services that are not measured
	variant := 0
	steps := []struct {
		what string // "": to go back to what was
		edit func() error
	}{
		{"an endpoint replaced", func() error { variant = 1 - variant; return t.put(changed, document(changed, s.Endpoints, variant)) }},
		{"an endpoint added", func() error { return t.put(changed, document(changed, s.Endpoints+1, variant)) }},
		{"", func() error { return t.put(changed, document(changed, s.Endpoints, variant)) }},
		{"a service added", func() error { return t.put(extra, document(extra, s.Endpoints, 0)) }},
		{"", func() error { return t.remove(extra) }},
	}
	samples := map[string][]float64{}
	for range b.Changes {
		for _, step := range steps {
			if err := step.edit(); err != nil {
				return err
			}
			line, err := log.Applied(ctx, func(a Applied) bool { return a.Reaction > 0 })
			if err != nil {
				return err
			}
			samples[step.what] = append(samples[step.what], milliseconds(line.Reaction))
		}
	}
	for _, step := range steps {
		if step.what == "" {
			continue
		}
		f := figure(s.String(), step.what+": from snapshot to commit", "ms", samples[step.what])
		if s.Services == floorServices && strings.HasPrefix(step.what, "an endpoint") {
			f = f.atMost(floorChange)
		}
		b.add(f)
	}
	return nil
}

// connections compares connections through services with those without one,
// all nodes and targets in turns.
func (b *services) connections(ctx context.Context) error {
	serving, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := b.client.Output(serving, lab.ClientName, "poplin", "lab", "bench", "agent", "serve", fmt.Sprintf("%s:%d", serverAddress, serverPort))
		done <- err
	}()
	defer func() { stop(); <-done }()
	type target struct {
		size       Size
		what, addr string
	}
	var targets []target
	for _, s := range b.Sizes {
		targets = append(targets, target{s, "no service", fmt.Sprintf("%s:%d", serverAddress, serverPort)})
		for i, service := range s.measured() {
			what := []string{"first", "middle", "last"}[i] + " service"
			targets = append(targets, target{s, what, clusterIP(service).String() + ":80"})
		}
	}
	rates, firsts := make([][]float64, len(targets)), make([][]float64, len(targets))
	sample := func(i int) error {
		var c Connections
		err := b.agent(ctx, targets[i].size.name(), &c, "connect", targets[i].addr, b.While.String())
		rates[i], firsts[i] = append(rates[i], c.Rate), append(firsts[i], c.First)
		return err
	}
	if err := b.warm(ctx, targets[0].size.name(), targets[0].addr); err != nil {
		return err
	}
	if err := inTurns(len(targets), b.Rounds, sample); err != nil {
		return err
	}
	reference := map[string]float64{} // of the smallest size
	smallest := slices.MinFunc(b.Sizes, func(x, y Size) int { return x.Services - y.Services })
	for i, t := range targets {
		if t.size == smallest {
			reference[t.what] = quantile(rates[i], 0.5)
		}
	}
	for i, t := range targets {
		b.add(figure(t.size.String(), "connections, "+t.what, "1/s", rates[i]))
		b.add(figure(t.size.String(), "first packet there and back, "+t.what, "µs", firsts[i]))
		if t.size == smallest || reference[t.what] == 0 {
			continue
		}
		ratio := figure(t.size.String(), "connections, "+t.what+", against "+smallest.String(), "", []float64{quantile(rates[i], 0.5) / reference[t.what]})
		if t.size.Services == floorServices && t.what != "no service" {
			ratio = ratio.atLeast(floorRate)
		}
		ratio.N = len(rates[i])
		b.add(ratio)
	}
	return nil
}

// warm waits until the server answers.
func (b *services) warm(ctx context.Context, node, address string) error {
	var last error
	err := within(ctx, time.Minute, "the server does not answer", func() bool {
		var c Connections
		last = b.agent(ctx, node, &c, "connect", address, "10ms")
		return last == nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// kubeProxy loads the other layout into a namespace without poplin.
func (b *services) kubeProxy(ctx context.Context) error {
	for _, s := range b.Sizes {
		if s.Services > b.KubeProxy {
			continue
		}
		b.Progress(fmt.Sprintf("%s: kube-proxy's layout", s))
		var l Loads
		if err := b.agent(ctx, lab.ClientName, &l, "kube-proxy", s.String()); err != nil {
			return fmt.Errorf("%s: kube-proxy's layout: %w", s, err)
		}
		b.add(figure(s.String(), "kube-proxy's layout, cold load: kernel time of nft", "s", []float64{l.Load.Kernel}))
		b.add(figure(s.String(), "kube-proxy's layout, cold load: elapsed", "s", []float64{l.Load.Elapsed}))
		b.add(figure(s.String(), "kube-proxy's layout, an endpoint replaced: elapsed", "ms", []float64{l.Replace.Elapsed * 1000}))
		if ours := b.kernel[s]; ours > 0 {
			ratio := figure(s.String(), "cold load: kernel time, kube-proxy's layout against poplin", "", []float64{l.Load.Kernel / ours})
			if s.Services == floorServices && s.Endpoints == 1 {
				ratio = ratio.atLeast(floorRatio)
			}
			b.add(ratio)
		}
	}
	if b.KubeProxy > 0 && slices.ContainsFunc(b.Sizes, func(s Size) bool { return s.Services > b.KubeProxy }) {
		b.report.Notes = append(b.report.Notes, "kube-proxy's layout was loaded up to "+strconv.Itoa(b.KubeProxy)+" services: the time grows with the square of them")
	}
	return nil
}

// Loads is what the agent says of kube-proxy's layout.
type Loads struct {
	Load    Load `json:"load"`
	Replace Load `json:"replace"`
}

func (b *services) usage(ctx context.Context, node string) (u Usage, err error) {
	return u, b.agent(ctx, node, &u, "usage")
}

// agent runs the bench's own command in a host, and reads its JSON.
func (b *services) agent(ctx context.Context, host string, answer any, args ...string) error {
	out, err := b.client.Output(ctx, host, append([]string{"poplin", "lab", "bench", "agent"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, answer)
}

// within waits for a condition.
func within(ctx context.Context, most time.Duration, what string, is func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("%s after %s", what, most))
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
