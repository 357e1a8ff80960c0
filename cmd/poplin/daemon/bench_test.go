package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/schema"
)

// serviceTree makes a tree of services with endpoints from slices, a file
// each.
func serviceTree(services, endpoints int) []schema.File {
	files := []schema.File{{Path: "cluster.yaml", Content: []byte(`apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: bench}
spec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: node-1}
spec: {cidrs: [10.244.0.0/24], node: node-1}
`)}}
	for i := range services {
		files = append(files, serviceFile(i, endpoints))
	}
	slices.SortFunc(files, func(a, b schema.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func serviceFile(i, endpoints int) schema.File {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {name: s%d}
spec: {clusterIP: 10.96.%d.%d, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s%d, labels: {kubernetes.io/service-name: s%d}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
`, i, 1+i/200, 20+i%200, i, i)
	for e := range endpoints {
		fmt.Fprintf(&b, "- addresses: [10.244.%d.%d]\n", 1+i%200, 1+e)
	}
	return schema.File{Path: fmt.Sprintf("services/s%d.yaml", i), Content: []byte(b.String())}
}

// podTree makes a tree of services with endpoints from pods, ten nodes that
// have them, and a file for each service and each pod.
func podTree(services, pods int) []schema.File {
	files := []schema.File{{Path: "cluster.yaml", Content: []byte(`apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: bench}
spec: {podCIDRs: [10.128.0.0/9], serviceCIDRs: [10.96.0.0/16], subnetLength: {ipv4: 16}}
`)}}
	for n := range 10 {
		files = append(files, schema.File{Path: fmt.Sprintf("nodes/%d.yaml", n), Content: fmt.Appendf(nil, `apiVersion: poplin/v1alpha1
kind: Node
metadata: {name: node-%d}
spec: {addresses: [192.0.2.%d]}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: subnet-%d}
spec: {cidrs: [10.%d.0.0/16], node: node-%d}
`, n+1, n+1, n, 128+n, n+1)})
	}
	for i := range services {
		files = append(files, schema.File{Path: fmt.Sprintf("services/s%d.yaml", i), Content: fmt.Appendf(nil, `apiVersion: v1
kind: Service
metadata: {name: s%d}
spec: {clusterIP: 10.96.%d.%d, selector: {app: s%d}, ports: [{port: 80, targetPort: 8080}]}
`, i, 1+i/200, 20+i%200, i)})
		for k := range pods {
			files = append(files, podFile(i, k, 1))
		}
	}
	slices.SortFunc(files, func(a, b schema.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// podFile is a pod of a service; none is on node-1.
func podFile(service, pod, weight int) schema.File {
	return schema.File{Path: fmt.Sprintf("pods/s%d-%d.yaml", service, pod), Content: fmt.Appendf(nil, `apiVersion: v1
kind: Pod
metadata: {name: s%d-%d, labels: {app: s%d, tier: web}, annotations: {poplin/weight: "%d"}}
spec: {nodeName: node-%d}
`, service, pod, service, weight, 2+(service+pod)%9)}
}

// podPeers has all pods of a tree, ready.
func podPeers(services, pods int) []overlay.Peer {
	var peers []overlay.Peer
	for n := range 9 {
		peers = append(peers, overlay.Peer{Name: fmt.Sprintf("node-%d", 2+n), State: overlay.PeerAlive, Backend: "udp", Port: 8285,
			Underlay: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + n)})}, Health: true})
	}
	slices.SortFunc(peers, func(a, b overlay.Peer) int { return strings.Compare(a.Name, b.Name) })
	for i := range services {
		for k := range pods {
			n := (i + k) % 9
			at := slices.IndexFunc(peers, func(p overlay.Peer) bool { return p.Name == fmt.Sprintf("node-%d", 2+n) })
			peers[at].Pods = append(peers[at].Pods, overlay.PodEntry{
				Namespace: "default", Name: fmt.Sprintf("s%d-%d", i, k), Ready: true,
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(129 + n), byte(i >> 5), byte(i<<3 | k%8)})},
			})
		}
	}
	for i := range peers {
		slices.SortFunc(peers[i].Pods, func(a, b overlay.PodEntry) int { return strings.Compare(a.Name, b.Name) })
	}
	return peers
}

// BenchmarkRound is the way from files and gossip to the plan that a target
// gets, and back: parse, validate, compile, diff and observe again.
func BenchmarkRound(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		files := serviceTree(n, 10)
		b.Run(fmt.Sprintf("full/%d", n), func(b *testing.B) {
			measure(b, func() { newPipeline(b).round(b, files) })
		})
		b.Run(fmt.Sprintf("endpoint in a slice/%d", n), func(b *testing.B) {
			p := newPipeline(b)
			p.round(b, files)
			at := slices.IndexFunc(files, func(f schema.File) bool { return f.Path == "services/s500.yaml" })
			have := 10
			measure(b, func() {
				have = 19 - have // 9, 10, 9, …
				files[at] = serviceFile(500, have)
				p.round(b, files)
			})
		})
	}
}

// BenchmarkRoundPods does so with pods as endpoints, on nine other nodes.
func BenchmarkRoundPods(b *testing.B) {
	const services, pods = 10000, 10
	files, peers := podTree(services, pods), podPeers(services, pods)
	p := newPipeline(b)
	p.peers = peers
	p.round(b, files)
	b.ResetTimer()
	b.Run("weight of a pod", func(b *testing.B) {
		at := slices.IndexFunc(files, func(f schema.File) bool { return f.Path == "pods/s500-3.yaml" })
		weight := 1
		measure(b, func() {
			weight = 3 - weight
			files[at] = podFile(500, 3, weight)
			p.round(b, files)
		})
	})
	b.Run("readiness of a pod", func(b *testing.B) {
		measure(b, func() {
			// Gossip hands over a node's pods as a whole.
			peers[3].Pods = slices.Clone(peers[3].Pods)
			pod := &peers[3].Pods[1000]
			pod.Ready = !pod.Ready
			p.round(b, files)
		})
	})
	b.Run("node with 11,111 pods", func(b *testing.B) {
		measure(b, func() {
			state := &peers[5].State
			if *state == overlay.PeerAlive {
				*state = overlay.PeerFailed
			} else {
				*state = overlay.PeerAlive
			}
			p.round(b, files)
		})
	})
}

// measure runs f again and again, and adds the processor's time to the
// figures: on a machine that does other things it says more than the clock.
func measure(b *testing.B, f func()) {
	n, before := 0, processorTime(b)
	for b.Loop() {
		if n++; n == 1 {
			before = processorTime(b) // Loop has just collected garbage
		}
		f()
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(n)/1e6, "cpu-ms/op")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pipeline is what a daemon keeps between rounds.
type pipeline struct {
	parser   *schema.Parser
	compiler *compile.Compiler
	engine   *reconciler.Engine
	heard    heardPods
	peers    []overlay.Peer
	last     *schema.Config
}

func newPipeline(b *testing.B) *pipeline {
	parser, err := schema.NewParser()
	if err != nil {
		b.Fatal(err)
	}
	return &pipeline{parser: parser, compiler: compile.New(), engine: reconciler.NewEngine(&obedient{}), heard: heardPods{}}
}

func (p *pipeline) round(b *testing.B, files []schema.File) {
	config, diagnostics := p.parser.Parse(files)
	if config == nil {
		b.Fatal(diagnostics)
	}
	if p.last != nil {
		if reason := guard(p.last, config); reason != "" {
			b.Fatal(reason)
		}
	}
	p.last = config
	f := facts{
		node: "node-1", revision: &revision{Config: config}, members: overlay.Snapshot{Joined: true, Peers: p.peers}, gossip: true,
		underlay: compile.Underlay{Link: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, MTU: 1500},
		heard:    p.heard,
	}
	round := p.engine.Converge(b.Context(), func(o reconciler.Observation) (reconciler.Desired, error) {
		f.observed = o.State
		g := reach(f, p.compiler)
		return reconciler.Desired{State: g.State, Cause: reconciler.CauseConfig, Complete: g.complete}, nil
	})
	if round.Err != nil || len(round.Plan) == 0 {
		b.Fatal("no difference: ", round.Err)
	}
}

// obedient is a target that always does what is asked for.
type obedient struct{ state reconciler.State }

func (o *obedient) Kinds() []reconciler.Kind {
	var kinds []reconciler.Kind
	for k := range reconciler.KindElement + 1 {
		kinds = append(kinds, k)
	}
	return kinds
}

func (o *obedient) Changes() <-chan struct{} { return nil }

func (o *obedient) Observe(context.Context) (reconciler.Observation, error) {
	return reconciler.Observation{State: o.state}, nil
}

func (o *obedient) Apply(_ context.Context, _ reconciler.Plan, desired reconciler.State) error {
	o.state = desired
	return nil
}
