// Package goldentest runs tests whose cases are files: txtar archives with
// documents (*.yaml), a view of the cluster as Self has it (section "view",
// in the form that view.go tells), and sections with what comes out. The flag
// -update writes those.
package goldentest

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

var update = flag.Bool("update", false, "rewrite the outputs in testdata")

// Case is one file.
type Case struct {
	Name   string // of the file, without its extension
	Config *schema.Config
	View   view.View

	path    string
	archive *txtar.Archive
}

// Load reads the files that match; none is a failure.
func Load(t testing.TB, pattern string) []Case {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files: %v", err)
	}
	var out []Case
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := Case{Name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path, archive: archive}
		c.View.Self.Name = Self
		var documents []schema.File
		for _, f := range archive.Files {
			switch {
			case strings.HasSuffix(f.Name, ".yaml"):
				documents = append(documents, schema.File{Path: f.Name, Content: f.Data})
			case f.Name == "view":
				readView(&c.View, string(f.Data))
			}
		}
		c.Config = parse(t, path, documents)
		out = append(out, c)
	}
	return out
}

func parse(t testing.TB, path string, documents []schema.File) *schema.Config {
	t.Helper()
	parser, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	config, diagnostics := parser.Parse(documents)
	if config == nil {
		t.Fatalf("%s: documents: %+v", path, diagnostics)
	}
	return config
}

// Run runs a test for each file that matches. f makes the sections that come
// out of a case, by name; they have to be those of the file, which may have
// others besides.
func Run(t *testing.T, pattern string, f func(t *testing.T, c Case) map[string]string) {
	t.Helper()
	for _, c := range Load(t, pattern) {
		t.Run(c.Name, func(t *testing.T) { c.compare(t, f(t, c)) })
	}
}

// Section gives the text of a section, if the file has it.
func (c Case) Section(name string) (text string, found bool) {
	i := c.index(name)
	if i < 0 {
		return "", false
	}
	return string(c.archive.Files[i].Data), true
}

func (c Case) index(section string) int {
	return slices.IndexFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == section })
}

// compare compares the file with itself with new outputs, or writes them.
func (c Case) compare(t *testing.T, outputs map[string]string) {
	t.Helper()
	now := txtar.Archive{Comment: c.archive.Comment, Files: slices.Clone(c.archive.Files)}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		f := txtar.File{Name: name, Data: []byte(outputs[name])}
		if i := c.index(name); i >= 0 {
			now.Files[i] = f
		} else {
			now.Files = append(now.Files, f)
		}
	}
	text := txtar.Format(&now)
	if !*update {
		if diff := cmp.Diff(string(txtar.Format(c.archive)), string(text)); diff != "" {
			t.Errorf("-file +now (-update rewrites):\n%s", diff)
		}
		return
	}
	if err := os.WriteFile(c.path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
