package daemon

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/schema"
)

// A plan shows where the rounds end up: a pod that the first one makes is an
// endpoint from the next one on.
func TestForesee(t *testing.T) {
	f := facts{
		node: "node-1", revision: selected(t), members: overlay.Snapshot{Joined: true}, gossip: true,
		underlay: compile.Underlay{Link: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, MTU: 1500},
	}
	for name, c := range map[string]struct {
		conflicts []reconciler.Conflict
		want      int
	}{
		"nothing in the way": {nil, 1},
		"a foreign bridge":   {[]reconciler.Conflict{{Key: reconciler.LinkKey{Name: "poplin-br0"}}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := endpointElements(foresee(f, compile.New(), c.conflicts).State); got != c.want {
				t.Errorf("%d endpoints, want %d", got, c.want)
			}
		})
	}
	if got := endpointElements(reach(f, compile.New()).State); got != 0 {
		t.Errorf("the first round has %d endpoints already", got)
	}
}

// selected is a revision with a pod that a service selects.
func selected(t *testing.T) *revision {
	t.Helper()
	parser, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	files := serviceTree(0, 0)
	files = append(files, schema.File{Path: "web.yaml", Content: []byte(strings.TrimSpace(`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.1.20, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-1}
`))})
	config, diagnostics := parser.Parse(files)
	if config == nil {
		t.Fatal(diagnostics)
	}
	return &revision{Config: config}
}

func endpointElements(s reconciler.State) int {
	n := 0
	for g := range s.Groups() {
		for _, o := range g.Objects {
			if e, ok := o.(reconciler.Element); ok && e.Set == reconciler.SetEndpoints {
				n++
			}
		}
	}
	return n
}
