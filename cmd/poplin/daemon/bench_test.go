package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

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

// BenchmarkRound is the way from files to a plan: parse, validate, compile
// and diff of 1,000 services with 10 endpoints.
func BenchmarkRound(b *testing.B) {
	files := serviceTree(1000, 10)
	b.Run("full", func(b *testing.B) {
		for b.Loop() {
			p := newPipeline(b)
			p.round(b, files, reconciler.State{})
		}
	})
	b.Run("one endpoint changed", func(b *testing.B) {
		p := newPipeline(b)
		state := p.round(b, files, reconciler.State{})
		n := 10
		for b.Loop() {
			n = 19 - n // 9, 10, 9, …
			files[501] = serviceFile(500, n)
			state = p.round(b, files, state)
		}
	})
}

// pipeline is what a daemon keeps between rounds.
type pipeline struct {
	parser   *schema.Parser
	compiler *compile.Compiler
}

func newPipeline(b *testing.B) pipeline {
	parser, err := schema.NewParser()
	if err != nil {
		b.Fatal(err)
	}
	return pipeline{parser, compile.New()}
}

func (p pipeline) round(b *testing.B, files []schema.File, observed reconciler.State) reconciler.State {
	config, diagnostics := p.parser.Parse(files)
	if config == nil {
		b.Fatal(diagnostics)
	}
	g := reach(facts{
		node: "node-1", revision: &revision{Config: config}, members: overlay.Snapshot{Joined: true}, gossip: true,
		underlay: compile.Underlay{Link: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, MTU: 1500},
		observed: observed,
	}, p.compiler)
	if plan := reconciler.Diff(observed, g.State); len(plan) == 0 {
		b.Fatal("no difference")
	}
	return g.State
}
