package schema_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/schema"
)

// TestLimits: texts that are made to hurt are refused, with a reason.
func TestLimits(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	for name, test := range map[string]struct{ text, want string }{
		"bomb":    {bomb, "more than 100000 values"},
		"depth":   {strings.Repeat("[", 65) + strings.Repeat("]", 65), "nested deeper than 64 levels"},
		"abyss":   {strings.Repeat("[", 500_000), ""},
		"indent":  {deepBlock(400), "nested deeper than 64 levels"},
		"size":    {strings.Repeat("# comment\n", 200_000), "at most 1048576 (1 MiB) are read"},
		"utf-8":   {"a: \xff\n", "the text is not UTF-8"},
		"control": {"a: \x07\n", "control character"},
		"anchors": {"a: &x {b: *x}\n", "nested deeper"},
	} {
		t.Run(name, func(t *testing.T) {
			_, diagnostics := newParser(t).Parse(one(test.text))
			for _, d := range diagnostics {
				if d.Severity == schema.Error && strings.Contains(d.Message, test.want) {
					return
				}
			}
			t.Errorf("want %q in %v", test.want, diagnostics)
		})
	}
}

func deepBlock(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// TestTruncated parses every golden cut short, and with bytes changed at
// random: the checks never fail, and never leave the text.
func TestTruncated(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.txtar")
	random := rand.New(rand.NewPCG(1, 2))
	p := newParser(t)
	for _, path := range paths {
		files, _ := readCase(t, path)
		for _, f := range files {
			for range 20 {
				content := bytes.Clone(f.Content[:random.IntN(len(f.Content)+1)])
				for range random.IntN(3) {
					if len(content) > 0 {
						content[random.IntN(len(content))] = "{}[]:-#&* \t\n\"'"[random.IntN(14)]
					}
				}
				checkParse(t, p, f.Path, content)
			}
		}
	}
}

// checkParse parses a file and checks what holds for every text.
func checkParse(t *testing.T, p *schema.Parser, path string, content []byte) {
	t.Helper()
	files := []schema.File{{Path: "0.yaml", Content: []byte(base)}, {Path: path, Content: content}}
	config, diagnostics := p.Parse(files)
	if (config == nil) != (diagnostics.Errors() > 0) {
		t.Errorf("config %v with %d errors", config, diagnostics.Errors())
	}
	lines := bytes.Count(content, []byte("\n")) + 1
	for _, d := range diagnostics {
		if d.Message == "" || d.Line < 0 || d.File == path && d.Line > lines {
			t.Errorf("diagnostic %+v for a file of %d lines", d, lines)
		}
	}
	var out bytes.Buffer
	diagnostics.WriteText(&out, false)
	if result, err := p.Allocate(files, false); err == nil && config != nil && config.Automatic == 0 && len(result.Changes) > 0 {
		t.Errorf("nothing is automatic, but Allocate changes %v", result.Changes)
	}
}

func FuzzParse(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.txtar")
	for _, path := range paths {
		files, _ := readCase(f, path)
		for _, file := range files {
			f.Add(strings.HasSuffix(file.Path, ".json"), file.Content)
		}
	}
	p := newParser(f)
	f.Fuzz(func(t *testing.T, json bool, content []byte) {
		path := "a.yaml"
		if json {
			path = "a.json"
		}
		checkParse(t, p, path, bytes.Clone(content)) // the fuzzer writes over it
	})
}
