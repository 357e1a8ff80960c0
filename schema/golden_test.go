package schema_test

import (
	"bytes"
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/poplin-net/poplin/schema"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// base is the tree that a case starts from; a case with a cluster.yaml of
// its own replaces it.
const base = `apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: test}
spec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]}
`

// expected is the file of a case that holds what the checks say.
const expected = "diagnostics"

// readCase reads a tree and the archive that it stands in. A file named
// no-cluster leaves the base out.
func readCase(t testing.TB, path string) ([]schema.File, *archive) {
	t.Helper()
	a := readArchive(t, path)
	files := []schema.File{{Path: "cluster.yaml", Content: []byte(base)}}
	for _, f := range a.files {
		switch f.name {
		case "no-cluster":
			files = files[1:]
		case "cluster.yaml":
			files[0].Content = f.data
		case expected:
		default:
			if !strings.HasPrefix(f.name, "after/") {
				files = append(files, schema.File{Path: f.name, Content: f.data})
			}
		}
	}
	return files, a
}

// compare checks one file of an archive, or rewrites it.
func compare(t *testing.T, path string, a *archive, name string, got []byte) {
	t.Helper()
	want := a.get(name)
	if bytes.Equal(got, want) {
		return
	}
	if !*update {
		t.Errorf("%s differs (-want +got):\n%s", name, cmp.Diff(string(want), string(got)))
		return
	}
	a.set(name, got)
	a.write(t, path)
}

func newParser(t testing.TB) *schema.Parser {
	t.Helper()
	p, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			files, archive := readCase(t, path)
			p := newParser(t)
			config, diagnostics := p.Parse(files)
			if (config == nil) != (diagnostics.Errors() > 0) {
				t.Errorf("config is nil: %v, with %d errors", config == nil, diagnostics.Errors())
			}
			var out bytes.Buffer
			diagnostics.WriteText(&out, false)
			out.WriteString(p.Counts().Summary(diagnostics) + "\n")
			compare(t, path, archive, expected, out.Bytes())
		})
	}
}

// TestAllocateGolden compares the files that Allocate writes with those
// below after/ in the case.
func TestAllocateGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/allocate/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			files, archive := readCase(t, path)
			result, err := schema.Allocate(files, strings.Contains(path, "subnets"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range result.Files {
				compare(t, path, archive, "after/"+f.Path, f.Content)
			}
			compare(t, path, archive, "after/changes", []byte(strings.Join(result.Changes, "\n")+"\n"))
		})
	}
}
