package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler"
)

// samplePlan has every verb, a group that goes, elements enough to be counted,
// and something that no document asks for.
func samplePlan() api.Plan {
	web := api.Origin{File: "services/web.yaml", Line: 3}
	element := func(slot, target string) api.Operation {
		return api.Operation{
			Verb: "add", Kind: "element", Cause: "config", Group: "service default/web", Origin: web,
			After: "element ip poplin endpoints { 10.96.0.10 . tcp . 80 . " + slot + " : " + target + " . 8080 }",
		}
	}
	return api.Plan{
		Node: "node-1", Revision: "main@88ab01d", From: "main@4f2c9e1", Read: 9*time.Millisecond + 123*time.Microsecond,
		Notes: []string{"membership is that of the last start"}, Conflicts: []api.Problem{{What: "link br0 is not poplin's", Remedy: "ip link delete br0"}},
		Operations: []api.Operation{
			{
				Verb: "change", Kind: "link", Cause: "drift", Group: "host", Origin: api.Origin{File: "cluster.yaml", Line: 1},
				Before: "link poplin-br0 type bridge mtu 1400 alias \"poplin c/poplin-br0\"", After: "link poplin-br0 type bridge mtu 1450 alias \"poplin c/poplin-br0\"",
			},
			{
				Verb: "change", Kind: "element", Cause: "config", Group: "service default/web", Origin: web,
				Before: "element ip poplin services { 10.96.0.10 . tcp . 80 : pick-3 }", After: "element ip poplin services { 10.96.0.10 . tcp . 80 : pick-7 }",
			},
			element("3", "10.244.2.9"), element("4", "10.244.2.10"), element("5", "10.244.2.11"), element("6", "10.244.2.12"),
			{
				Verb: "delete", Kind: "route", Cause: "config", Group: "peer node-9", Origin: api.Origin{File: "nodes/node-9.yaml", Line: 1},
				Before: "route 10.244.9.0/24 dev poplin0",
			},
			{Verb: "delete", Kind: "address", Cause: "drift", Before: "address 10.244.1.7/24 dev poplin-br0"},
		},
		Summary: reconciler.Summary{Add: 4, Change: 2, Delete: 2, Unchanged: 212},
	}
}

func TestPlanText(t *testing.T) {
	inSync := api.Plan{Node: "node-1", Revision: "main@4f2c9e1"}
	held := inSync
	held.HeldBack = "9 of 12 documents would go, more than 6"
	for name, c := range map[string]struct {
		plan    api.Plan
		verbose bool
	}{
		"plan":         {samplePlan(), false},
		"plan-verbose": {samplePlan(), true},
		"plan-in-sync": {inSync, false},
		"plan-held":    {held, false},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			must(t, writePlan(&out, c.plan, c.verbose))
			golden(t, name, out.String())
		})
	}
}

func TestChangeText(t *testing.T) {
	for _, c := range [][3]string{
		{"link a mtu 1400 up", "link a mtu 1450 up", "link a mtu 1400 → 1450"},
		{"link a", "link a down", "link a  → down"},
		{"route a via b", "route a via c", "route a via b → c"},
		{"same", "same", "same  → "},
	} {
		if got := changeText(c[0], c[1]); got != c[2] {
			t.Errorf("%q and %q: %q, want %q", c[0], c[1], got, c[2])
		}
	}
}
