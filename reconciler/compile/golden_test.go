package compile

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

var update = flag.Bool("update", false, "rewrite the outputs in testdata")

// scenario is a file of testdata. It holds documents (*.yaml), "view" and
// "host" (form_test.go says how they read; both have a default), and the
// outputs "desired" and, where there are any, "problems".
//
// With files below "before/" it is a change: they stand in for the files of
// the same name in what the host had, and a document that is empty there is
// not there. Lines of "missing" name objects that somebody removed from the
// host. Then
// "plan" is an output too.
type scenario struct {
	name    string
	archive *txtar.Archive
	files   map[string]string
}

func loadScenarios(t testing.TB) []scenario {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var out []scenario
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := scenario{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), archive: archive, files: map[string]string{}}
		for _, f := range archive.Files {
			s.files[f.Name] = string(f.Data)
		}
		out = append(out, s)
	}
	return out
}

// input makes the compiler's input of what is now, or of what was before.
func (s scenario) input(t testing.TB, before bool) Input {
	t.Helper()
	files := map[string]string{"host": defaultHost}
	for name, text := range s.files {
		if !strings.Contains(name, "/") {
			files[name] = text
		}
	}
	revision := "r2"
	if before {
		revision = "r1"
		for name, text := range s.files {
			if base, ok := strings.CutPrefix(name, "before/"); ok {
				files[base] = text
			}
		}
	}
	in := Input{Config: parseDocuments(t, files), Host: parseHost(t, files["host"]), Revision: revision}
	v := parseView(t, files["view"])
	subnets := OwnSubnets(in.Config, in.Host.Node, v.claims)
	in.Host.PodAddresses, _ = Assign(in.Config, in.Host.Node, subnets, v.before)
	in.View = view.View{Self: view.Self{Name: in.Host.Node, Subnets: v.claims, Former: v.former}, Peers: v.peers}
	for _, name := range slices.SortedFunc(maps.Keys(in.Host.PodAddresses), schema.Name.Compare) {
		in.View.Self.Pods = append(in.View.Self.Pods, view.Pod{
			Namespace: name.Namespace, Name: name.Name, Addresses: in.Host.PodAddresses[name], Ready: !v.notReady[name],
		})
	}
	return in
}

func parseDocuments(t testing.TB, files map[string]string) *schema.Config {
	t.Helper()
	return parserOf(t)(files)
}

// parserOf gives a parser that remembers what it parsed.
func parserOf(t testing.TB) func(files map[string]string) *schema.Config {
	parser, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	return func(files map[string]string) *schema.Config {
		t.Helper()
		var list []schema.File
		for name, text := range files {
			if strings.HasSuffix(name, ".yaml") && text != "" {
				list = append(list, schema.File{Path: name, Content: []byte(text)})
			}
		}
		config, diagnostics := parser.Parse(list)
		if config == nil {
			t.Fatalf("documents: %+v", diagnostics)
		}
		return config
	}
}

// isChange reports whether the scenario says what was before.
func (s scenario) isChange() bool {
	return slices.ContainsFunc(s.archive.Files, func(f txtar.File) bool {
		return strings.HasPrefix(f.Name, "before/") || f.Name == "missing"
	})
}

// observed is what the host has before the change.
func (s scenario) observed(t testing.TB, desired reconciler.State) reconciler.State {
	missing := strings.Split(strings.TrimSpace(s.files["missing"]), "\n")
	found := map[string]bool{"": s.files["missing"] == ""}
	kept := desired.Only(func(o reconciler.Object) bool {
		found[o.String()] = true
		return !slices.Contains(missing, o.String())
	})
	for _, line := range missing {
		if !found[line] {
			t.Errorf("%q is missing, but was never there", line)
		}
	}
	return kept
}

func TestGolden(t *testing.T) {
	for _, s := range loadScenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			outputs := s.run(t)
			if *update {
				s.write(t, outputs)
				return
			}
			for _, name := range []string{"desired", "problems", "plan"} {
				if diff := cmp.Diff(s.files[name], outputs[name]); diff != "" {
					t.Errorf("%s (-file +now; -update rewrites):\n%s", name, diff)
				}
			}
		})
	}
}

func (s scenario) run(t *testing.T) map[string]string {
	compiler := New()
	var was Result
	if s.isChange() {
		was = compiler.Compile(s.input(t, true))
	}
	now := compiler.Compile(s.input(t, false))
	if err := now.State.Check(); err != nil {
		t.Error(err)
	}
	out := map[string]string{"desired": formatState(now.State)}
	for _, p := range now.Problems {
		out["problems"] += p.What + "\n  " + p.Remedy + "\n"
	}
	if s.isChange() {
		plan := reconciler.Diff(s.observed(t, was.State), now.State)
		plan = reconciler.Attribute(plan, was.State, now.State, reconciler.CauseConfig, false)
		for _, op := range plan {
			out["plan"] += fmt.Sprintf("%-10s %-20s %s\n", op.Cause, op.Origin, op)
		}
		if len(plan) == 0 {
			out["plan"] = "nothing\n"
		}
	}
	return out
}

// formatState prints each group with its origin, and its objects below it.
func formatState(s reconciler.State) string {
	var b strings.Builder
	for g := range s.Groups() {
		fmt.Fprintf(&b, "%s  (%s)\n", g.Name, g.Origin)
		for _, o := range g.Objects {
			fmt.Fprintf(&b, "  %s\n", o)
		}
	}
	return b.String()
}

// write replaces the outputs in the scenario's file.
func (s scenario) write(t *testing.T, outputs map[string]string) {
	s.archive.Files = slices.DeleteFunc(s.archive.Files, func(f txtar.File) bool {
		return f.Name == "desired" || f.Name == "problems" || f.Name == "plan"
	})
	for _, name := range []string{"plan", "problems", "desired"} {
		if outputs[name] != "" {
			s.archive.Files = append(s.archive.Files, txtar.File{Name: name, Data: []byte(outputs[name])})
		}
	}
	if err := os.WriteFile(filepath.Join("testdata", s.name+".txtar"), txtar.Format(s.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}
