package main

import (
	"flag"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the goldens, and the tables in CONTRIBUTING.md")

// Sizes that code keeps to, in lines. Tests may be longer.
const (
	maxFile     = 400
	maxFunction = 70
)

// TestHouseRules holds every file against the rules of CONTRIBUTING.md that a
// machine can check.
func TestHouseRules(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.Doc == "" && !documentedByTest(p) {
			t.Errorf("%s has no package comment", p.name())
		}
		for _, name := range p.GoFiles {
			checkFile(t, p, name, maxFile)
		}
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			checkFile(t, p, name, 0)
		}
	}
}

// TestTopLevel sees that the repository's first folders stay those that show
// its architecture.
func TestTopLevel(t *testing.T) {
	folders := map[string]bool{}
	for _, p := range listPackages(t) {
		first, _, _ := strings.Cut(p.name(), "/")
		folders[first] = true
	}
	for name := range folders {
		if !slices.Contains([]string{"schema", "reconciler", "overlay", "cmd", "examples", "systemd"}, name) {
			t.Errorf("package in %s", name)
		}
	}
}

// documentedByTest reports whether a package is nothing but a test that says
// what it is for.
func documentedByTest(p listedPackage) bool {
	if len(p.GoFiles) > 0 {
		return false
	}
	for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err == nil && file.Doc != nil {
			return true
		}
	}
	return false
}

// checkFile checks one file; limit is its greatest length, 0 for none.
func checkFile(t *testing.T, p listedPackage, name string, limit int) {
	path := filepath.Join(p.Dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	where := func(n ast.Node) string {
		at := set.Position(n.Pos())
		at.Filename = filepath.Join(p.name(), name)
		return at.String()
	}
	if formatted, err := format.Source(text); err != nil || string(formatted) != string(text) {
		t.Errorf("%s: gofmt would change it", where(file))
	}
	lines := set.Position(file.End()).Line
	if limit > 0 && lines > limit {
		t.Errorf("%s has %d lines, %d are enough: is it one noun?", where(file), lines, limit)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				t.Errorf("%s: init registers or computes at start; call it where it is needed", where(n))
			}
			if length := set.Position(n.End()).Line - set.Position(n.Pos()).Line + 1; limit > 0 && length > maxFunction {
				t.Errorf("%s: %s has %d lines, %d are enough", where(n), n.Name.Name, length, maxFunction)
			}
		case *ast.CallExpr:
			// Tests print where they stand in for a program.
			if what := strayPrint(n); what != "" && !strings.HasSuffix(name, "_test.go") {
				t.Errorf("%s: %s writes to the process's own output: take a writer, or log", where(n), what)
			}
		case *ast.ImportSpec:
			if n.Name != nil && n.Name.Name == "_" && n.Path.Value != `"embed"` {
				t.Errorf("%s: an import for its effects", where(n))
			}
		}
		return true
	})
}

// strayPrint names a call that prints to standard output or error whatever
// its caller wants; "" for any other.
func strayPrint(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		if f.Name == "print" || f.Name == "println" {
			return f.Name
		}
	case *ast.SelectorExpr:
		pkg, ok := f.X.(*ast.Ident)
		if !ok {
			return ""
		}
		if pkg.Name == "fmt" && slices.Contains([]string{"Print", "Printf", "Println"}, f.Sel.Name) {
			return "fmt." + f.Sel.Name
		}
		if pkg.Name == "log" && (strings.HasPrefix(f.Sel.Name, "Print") || strings.HasPrefix(f.Sel.Name, "Fatal")) {
			return "log." + f.Sel.Name
		}
	}
	return ""
}

// TestContributingHasTheImportTable keeps the page and the rules in step.
func TestContributingHasTheImportTable(t *testing.T) {
	const path, begin, end = "../../CONTRIBUTING.md", "<!-- imports -->\n", "<!-- end of imports -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	table, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table between %q and %q", path, begin, end)
	}
	if table == importTable() {
		return
	}
	if !*update {
		t.Fatalf("the import table in %s is old: go test ./cmd/poplin -run Contributing -update", path)
	}
	if err := os.WriteFile(path, []byte(before+begin+importTable()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
