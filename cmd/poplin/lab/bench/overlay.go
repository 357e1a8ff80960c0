//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

// OverlayOptions say what is measured.
type OverlayOptions struct {
	Name string // labs are called NAME-1, NAME-2, …
	// Paths are some of OverlayPaths; see CheckPaths. A backend may be followed by changes of
	// its offloads (poplin run --overlay-offloads), as in udp:-gso:-gro.
	Paths []string
	// Only leaves out all that is measured but some of Measurements; none of
	// them means everything.
	Only     []string
	Rounds   int
	While    time.Duration // of each measurement
	Progress func(string)
}

// The two ways from pod to pod that are made by hand, to compare with.
const (
	PlainRoutes = "routes"
	KernelVXLAN = "kernel-vxlan"
)

// OverlayPaths are all that can be measured: those made by hand, and poplin's
// backends.
func OverlayPaths() []string {
	return []string{PlainRoutes, KernelVXLAN, "host-gw", "vxlan", "udp", "wireguard"}
}

// CheckPaths checks the names of paths.
func CheckPaths(paths []string) error {
	for _, p := range paths {
		if kind, _, _ := strings.Cut(p, ":"); !slices.Contains(OverlayPaths(), kind) {
			return fmt.Errorf("path %q: want some of %s", p, strings.Join(OverlayPaths(), ", "))
		}
	}
	return nil
}

// The floors of the udp backend, against kernel VXLAN in the same sitting.
const (
	floorStream   = 0.5 // of the throughput of TCP
	floorDatagram = 0.4 // of the rate of datagrams with 1400 bytes
	floorTrip     = 3.0 // times the median round trip
	floorCPU      = 2.5 // times the processor time of a gigabyte
)

// overlay is one run.
type overlay struct {
	OverlayOptions
	report *Report
	paths  []*way
}

// way is a path from pod a on node-1 to pod b on node-2, in a lab of its own.
type way struct {
	name    string
	client  *lab.Client
	samples map[string][]float64 // by what was measured
}

// Overlay measures from pod to pod: a lab of two nodes for each path, all of
// them at once, measured in turns.
func Overlay(ctx context.Context, o OverlayOptions) (*Report, error) {
	b := &overlay{OverlayOptions: o, report: &Report{
		APIVersion: "poplin/v1alpha1", Kind: "Bench", Bench: "overlay", Kernel: kernel(), CPUs: runtime.NumCPU(),
	}}
	dir, err := os.MkdirTemp("", "poplin-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, name := range o.Paths {
		o.Progress(name + ": starting")
		w, down, err := b.start(ctx, filepath.Join(dir, strconv.Itoa(i+1)), i)
		defer down()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		b.paths = append(b.paths, w)
	}
	if err := b.measure(ctx); err != nil {
		return nil, err
	}
	b.sumUp()
	return b.report, nil
}

// start makes the lab of a path, and the far end of its traffic.
func (b *overlay) start(ctx context.Context, tree string, i int) (w *way, down func(), err error) {
	down = func() {}
	kind, offloads, _ := strings.Cut(b.Paths[i], ":")
	if err := writeOverlayTree(tree, backendOf(kind)); err != nil {
		return nil, down, err
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "POPLIN_") })
	if offloads != "" {
		env = append(env, "POPLIN_OVERLAY_OFFLOADS="+strings.ReplaceAll(offloads, ":", ","))
	}
	labName := fmt.Sprintf("%s-%d", b.Name, i+1)
	spec, err := lab.Plan(lab.Options{Name: labName, Tree: tree, Env: env})
	if err != nil {
		return nil, down, err
	}
	launched, err := lab.Launch(ctx, &spec)
	if err != nil {
		return nil, down, err
	}
	down = func() {
		launched.Close()
		_, _ = lab.Down(labName) // a keeper that is not detached ends by itself, too
	}
	w = &way{name: b.Paths[i], samples: map[string][]float64{}}
	if w.client, err = lab.Open(labName); err != nil {
		return nil, down, err
	}
	if err := w.settle(ctx); err != nil {
		return nil, down, err
	}
	go func() { _, _ = w.far(ctx) }() // near says if nobody answers
	return w, down, within(ctx, time.Minute, "pod b does not answer", func() bool {
		_, err := w.near(ctx, "mtu")
		return err == nil
	})
}

// settle waits until both nodes are in sync, and then makes by hand what is to
// be made by hand.
func (w *way) settle(ctx context.Context) error {
	for _, node := range overlayNodes {
		err := within(ctx, time.Minute, node+" is not in sync", func() bool {
			s, err := w.client.Status(ctx, node)
			return err == nil && s.InSync && len(s.Peers) > 0
		})
		if err != nil {
			return err
		}
	}
	if w.name != PlainRoutes && w.name != KernelVXLAN {
		return nil
	}
	for i, node := range overlayNodes {
		if err := w.client.Stop(ctx, node); err != nil {
			return err
		}
		for _, line := range byHand(w.name, i+1) {
			host, pod, words := node, "", strings.Fields(line)
			if words[0] == "pod" {
				pod, words = overlayPods[i], words[1:]
			}
			if _, err := w.client.OutputPod(ctx, host, pod, words...); err != nil {
				return err
			}
		}
	}
	return nil
}

// far answers in pod b until ctx ends.
func (w *way) far(ctx context.Context) ([]byte, error) {
	if _, err := exec.LookPath("iperf3"); err == nil {
		go func() { _, _ = w.client.OutputPod(ctx, overlayNodes[1], overlayPods[1], "iperf3", "-s") }()
	}
	return w.client.OutputPod(ctx, overlayNodes[1], overlayPods[1], "poplin", "lab", "bench", "agent", "far")
}

// near runs one measurement in pod a.
func (w *way) near(ctx context.Context, args ...string) (s Sample, err error) {
	args = append([]string{"poplin", "lab", "bench", "agent", "near"}, args...)
	out, err := w.client.OutputPod(ctx, overlayNodes[0], overlayPods[0], args...)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// daemons is the processor time in seconds that the nodes' daemons have used,
// those of a path that is made by hand none.
func (w *way) daemons(ctx context.Context) (seconds float64) {
	for _, node := range overlayNodes {
		var u Usage
		out, err := w.client.Output(ctx, node, "poplin", "lab", "bench", "agent", "usage")
		if err == nil && json.Unmarshal(out, &u) == nil {
			seconds += u.User + u.Kernel
		}
	}
	return seconds
}

// measurement is a column of samples, with what near is asked for.
type measurement struct {
	what, unit string
	args       []string
}

var measurements = []measurement{
	{"TCP, 1 stream", "Gbit/s", []string{"tcp", "1"}},
	{"TCP, 8 streams", "Gbit/s", []string{"tcp", "8"}},
	{"UDP, 1400 bytes", "1000/s", []string{"udp", "1400"}},
	{"UDP, 64 bytes", "1000/s", []string{"udp", "64"}},
	{"round trip", "µs", []string{"trip"}},
}

// id is what the measurement is called by those who choose: tcp-8, trip.
func (m measurement) id() string { return strings.Join(m.args, "-") }

// Measurements are all that is measured of a path, by their short names.
func Measurements() (list []string) {
	for _, m := range measurements {
		list = append(list, m.id())
	}
	return list
}

// CheckMeasurements checks short names.
func CheckMeasurements(names []string) error {
	for _, n := range names {
		if !slices.Contains(Measurements(), n) {
			return fmt.Errorf("measurement %q: want some of %s", n, strings.Join(Measurements(), ", "))
		}
	}
	return nil
}

// chosen are the measurements that are made.
func (o OverlayOptions) chosen() []measurement {
	return slices.DeleteFunc(slices.Clone(measurements), func(m measurement) bool {
		return len(o.Only) > 0 && !slices.Contains(o.Only, m.id())
	})
}

const (
	cpuTime = "processor time, 1 stream"
	tripP99 = "round trip, 99th percentile"
)

func (b *overlay) measure(ctx context.Context) error {
	for _, w := range b.paths {
		s, err := w.near(ctx, "verify")
		if err != nil {
			return fmt.Errorf("%s: bytes sent and received: %w", w.name, err)
		}
		b.report.Notes = append(b.report.Notes, fmt.Sprintf("%s: pods' mtu %d, underlay's %d; %d MiB arrived as they were sent",
			w.name, s.MTU, underlayMTU, s.Bytes>>20))
	}
	for _, m := range b.chosen() {
		b.Progress(fmt.Sprintf("%s: %d rounds", m.what, b.Rounds))
		err := inTurns(len(b.paths), b.Rounds, func(i int) error {
			w := b.paths[i]
			before := w.daemons(ctx)
			s, err := w.near(ctx, slices.Concat(m.args, []string{b.While.String()})...)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", w.name, m.what, err)
			}
			w.samples[m.what] = append(w.samples[m.what], s.Value)
			switch m.args[0] {
			case "trip":
				w.samples[tripP99] = append(w.samples[tripP99], s.P99)
			case "tcp":
				if m.args[1] == "1" && s.Bytes > 0 {
					cpu := s.CPU + w.daemons(ctx) - before
					w.samples[cpuTime] = append(w.samples[cpuTime], cpu/(float64(s.Bytes)/1e9))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sumUp makes figures of the samples, and ratios to the paths made by hand.
func (b *overlay) sumUp() {
	units := map[string]string{cpuTime: "s/GB", tripP99: "µs"}
	var order []string
	for _, m := range b.chosen() {
		units[m.what] = m.unit
		order = append(order, m.what)
	}
	for _, what := range append(order, tripP99, cpuTime) {
		for _, w := range b.paths {
			if len(w.samples[what]) == 0 {
				continue
			}
			f := figure(w.name, what, units[what], w.samples[what])
			b.report.Figures = append(b.report.Figures, f)
			for _, base := range b.paths {
				if base == w || base.name != PlainRoutes && base.name != KernelVXLAN {
					continue
				}
				other := quantile(base.samples[what], 0.5)
				if other == 0 || len(w.samples[what]) == 0 {
					continue
				}
				ratio := figure(w.name, what+", against "+base.name, "", []float64{f.P50 / other})
				ratio.N = f.N
				b.report.Figures = append(b.report.Figures, withFloor(ratio, what))
			}
		}
	}
}

// withFloor sets the floor of a ratio, if it has one.
func withFloor(f Figure, what string) Figure {
	if f.Size != "udp" || f.What != what+", against "+KernelVXLAN {
		return f
	}
	switch what {
	case "TCP, 1 stream", "TCP, 8 streams":
		return f.atLeast(floorStream)
	case "UDP, 1400 bytes":
		return f.atLeast(floorDatagram)
	case "round trip":
		return f.atMost(floorTrip)
	case cpuTime:
		return f.atMost(floorCPU)
	}
	return f
}
