//go:build linux

package bench

import (
	"bytes"
	"context"
	_ "embed" // configurations of other servers
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

//go:embed unbound.conf
var unboundConf string

//go:embed dnsmasq.conf
var dnsmasqConf string

// DNSOptions say what is measured.
type DNSOptions struct {
	Name     string // of the lab
	Services []int  // sizes: how many services
	Rounds   int
	While    time.Duration // of each measurement
	Progress func(string)
}

// floorUnbound is the floor, of the rate of unbound in the same sitting.
const floorUnbound = 0.5

// What the servers are asked for.
const (
	askedNames   = "names of the cluster"
	askedMisses  = "names that are not there"
	askedOutside = "cached names outside"

	outsideNames = 1000
)

// The servers.
const (
	serverPoplin  = "poplin"
	serverUnbound = "unbound"
	serverDnsmasq = "dnsmasq"
)

// dnsServer is a server on a node, with what was measured of it.
type dnsServer struct {
	size  Size
	name  string
	at    netip.AddrPort
	rates map[string][]float64 // by what was asked for
	p50   map[string][]float64
	p99   map[string][]float64
}

// dnsBench is one run.
type dnsBench struct {
	DNSOptions
	dir     string
	report  *Report
	client  *lab.Client
	servers []*dnsServer
}

// DNS measures the servers of names: poplin's on a node for each size, and
// beside it unbound and dnsmasq with the same names, where they are there.
func DNS(ctx context.Context, o DNSOptions) (*Report, error) {
	dir, err := os.MkdirTemp("", "poplin-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &dnsBench{DNSOptions: o, dir: dir, report: &Report{APIVersion: "poplin/v1alpha1", Kind: "Bench", Bench: "dns", Kernel: kernel(), CPUs: runtime.NumCPU()}}
	var sizes []Size
	for _, n := range o.Services {
		sizes = append(sizes, Size{Services: n, Endpoints: 1})
	}
	trees := map[string]string{}
	for _, s := range sizes {
		t := tree{filepath.Join(dir, s.name()), sizes}
		if err := errors.Join(t.start(), t.fill(s)); err != nil {
			return nil, err
		}
		trees[s.name()] = t.dir
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "POPLIN_") })
	spec, err := lab.Plan(lab.Options{Name: o.Name, Tree: trees[sizes[0].name()], Trees: trees, Env: env})
	if err != nil {
		return nil, err
	}
	launched, err := lab.Launch(ctx, &spec)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	err = b.run(running, sizes)
	stop()
	launched.Close()
	_, downErr := lab.Down(o.Name)
	return b.report, errors.Join(err, downErr)
}

func (b *dnsBench) run(ctx context.Context, sizes []Size) error {
	var err error
	if b.client, err = lab.Open(b.Name); err != nil {
		return err
	}
	go func() {
		_, _ = b.client.Output(ctx, lab.ClientName, "poplin", "lab", "bench", "agent", "names", serverAddress+":53")
	}()
	for _, s := range sizes {
		b.Progress(s.name() + ": starting")
		if err := b.start(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	for _, asked := range []string{askedNames, askedMisses, askedOutside} {
		b.Progress(fmt.Sprintf("%s: %d rounds", asked, b.Rounds))
		if err := inTurns(len(b.servers), b.Rounds, func(i int) error { return b.measure(ctx, b.servers[i], asked) }); err != nil {
			return err
		}
	}
	return b.sumUp(ctx)
}

// start gives a node its questions and its servers.
func (b *dnsBench) start(ctx context.Context, s Size) error {
	err := within(ctx, time.Minute, s.name()+" is not in sync", func() bool {
		status, err := b.client.Status(ctx, s.name())
		return err == nil && status.InSync && status.DNS != nil && status.DNS.Ready && len(status.DNS.Listeners) > 0
	})
	if err != nil {
		return err
	}
	var names, hosts, unbound, misses, outside strings.Builder
	for i := range s.Services {
		name := fmt.Sprintf("s%05d.default.svc.cluster.local", i)
		fmt.Fprintf(&names, "%s A\n", name)
		fmt.Fprintf(&misses, "x%05d.default.svc.cluster.local A\n", i)
		fmt.Fprintf(&hosts, "%s %s\n", clusterIP(i), name)
		fmt.Fprintf(&unbound, "local-data: \"%s. 5 IN A %s\"\n", name, clusterIP(i))
	}
	for i := range outsideNames {
		fmt.Fprintf(&outside, "www%d.example.com A\n", i)
	}
	for name, text := range map[string]string{
		askedNames: names.String(), askedMisses: misses.String(), askedOutside: outside.String(),
		serverUnbound: unbound.String(), serverDnsmasq: hosts.String(),
	} {
		if err := os.WriteFile(b.file(s, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	b.add(s, serverPoplin, netip.MustParseAddrPort("10.96.0.10:53"))
	for i, other := range []struct{ name, conf, flag string }{{serverUnbound, unboundConf, "-dc"}, {serverDnsmasq, dnsmasqConf, "-C"}} {
		if _, err := exec.LookPath(other.name); err != nil {
			b.report.Notes = append(b.report.Notes, other.name+" is not installed")
			continue
		}
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(5301+i))
		conf := strings.NewReplacer("THREADS", strconv.Itoa(runtime.NumCPU()), "PORT", strconv.Itoa(int(at.Port())),
			"NAMES", b.file(s, other.name), "UPSTREAM", serverAddress).Replace(other.conf)
		path := b.file(s, other.name+" conf")
		if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
			return err
		}
		go func() { _, _ = b.client.Output(ctx, s.name(), other.name, other.flag, path) }()
		b.add(s, other.name, at)
	}
	return b.warm(ctx, s)
}

// warm asks each server for everything once, so that it runs and has names
// outside in its cache.
func (b *dnsBench) warm(ctx context.Context, s Size) error {
	for _, server := range b.servers {
		if server.size != s {
			continue
		}
		err := within(ctx, time.Minute, server.name+" does not answer", func() bool {
			r, err := b.ask(ctx, server, askedOutside, 0, 300*time.Millisecond)
			return err == nil && r.Rate > 0 && r.Lost == 0
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *dnsBench) file(s Size, what string) string {
	return filepath.Join(b.dir, s.name()+"-"+strings.ReplaceAll(what, " ", "-"))
}

func (b *dnsBench) add(s Size, name string, at netip.AddrPort) {
	b.servers = append(b.servers, &dnsServer{size: s, name: name, at: at, rates: map[string][]float64{}, p50: map[string][]float64{}, p99: map[string][]float64{}})
}

// ask has the generator of ours ask, from the server's own node.
func (b *dnsBench) ask(ctx context.Context, s *dnsServer, asked string, rate float64, while time.Duration) (r Answers, err error) {
	out, err := b.client.Output(ctx, s.size.name(), "poplin", "lab", "bench", "agent", "ask",
		s.at.String(), b.file(s.size, asked), strconv.FormatFloat(rate, 'f', 0, 64), while.String())
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}

var dnsperfRate = regexp.MustCompile(`Queries per second: +([0-9.]+)`)

// rate measures queries a second under full load, with dnsperf if there is
// one.
func (b *dnsBench) rate(ctx context.Context, s *dnsServer, asked string) (float64, error) {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		r, err := b.ask(ctx, s, asked, 0, b.While)
		return r.Rate, err
	}
	cpus := strconv.Itoa(runtime.NumCPU())
	out, err := b.client.Output(ctx, s.size.name(), "dnsperf", "-s", s.at.Addr().String(), "-p", strconv.Itoa(int(s.at.Port())), "-d", b.file(s.size, asked),
		"-l", strconv.FormatFloat(b.While.Seconds(), 'f', -1, 64), "-q", "200", "-c", strconv.Itoa(8*runtime.NumCPU()), "-T", cpus)
	if err != nil {
		return 0, err
	}
	m := dnsperfRate.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("dnsperf: %s", bytes.TrimSpace(out))
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// measure takes the rate under full load, and then the latency under half of
// that.
func (b *dnsBench) measure(ctx context.Context, s *dnsServer, asked string) error {
	rate, err := b.rate(ctx, s, asked)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", s.name, asked, err)
	}
	s.rates[asked] = append(s.rates[asked], rate)
	r, err := b.ask(ctx, s, asked, rate/2, b.While)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", s.name, asked, err)
	}
	s.p50[asked], s.p99[asked] = append(s.p50[asked], r.P50), append(s.p99[asked], r.P99)
	if r.Lost > 0 {
		b.report.Notes = append(b.report.Notes, fmt.Sprintf("%s, %s: %d of its answers were lost at half load", s.name, asked, r.Lost))
	}
	return nil
}

func (b *dnsBench) sumUp(ctx context.Context) error {
	size := func(s *dnsServer) string { return strconv.Itoa(s.size.Services) }
	put := func(f Figure) { b.report.Figures = append(b.report.Figures, f) }
	for _, asked := range []string{askedNames, askedMisses, askedOutside} {
		for _, s := range b.servers {
			put(figure(size(s), s.name+": "+asked, "1/s", s.rates[asked]))
			put(figure(size(s), s.name+": "+asked+", latency at half load", "ms", s.p50[asked]))
			put(figure(size(s), s.name+": "+asked+", 99th percentile at half load", "ms", s.p99[asked]))
			i := slices.IndexFunc(b.servers, func(o *dnsServer) bool { return o.name == serverUnbound && o.size == s.size })
			if s.name != serverPoplin || i < 0 {
				continue
			}
			ratio := figure(size(s), "poplin against unbound: "+asked, "", []float64{quantile(s.rates[asked], 0.5) / quantile(b.servers[i].rates[asked], 0.5)})
			put(ratio.atLeast(floorUnbound))
		}
	}
	for _, s := range b.servers {
		out, err := b.client.Output(ctx, s.size.name(), "poplin", "lab", "bench", "agent", "resident", s.name)
		if err != nil {
			return err
		}
		mib, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil {
			return err
		}
		put(figure(size(s), s.name+": memory of the process", "MiB", []float64{mib}))
	}
	b.report.Notes = append(b.report.Notes, "poplin's memory is that of the whole daemon; servers and generator share the processors")
	return nil
}
