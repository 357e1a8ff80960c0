package schema_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// archive is a file in the txtar format: a comment, then files, each below a
// line `-- name --`.
type archive struct {
	comment string
	files   []archiveFile
}

type archiveFile struct {
	name string
	data []byte
}

func readArchive(t testing.TB, path string) *archive {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{}
	for line := range strings.Lines(string(content)) {
		name, isName := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- ")
		switch {
		case isName && strings.HasSuffix(line, " --\n"):
			a.files = append(a.files, archiveFile{name: name})
		case len(a.files) == 0:
			a.comment += line
		default:
			last := &a.files[len(a.files)-1]
			last.data = append(last.data, line...)
		}
	}
	return a
}

// set replaces a file, or adds it.
func (a *archive) set(name string, data []byte) {
	for i := range a.files {
		if a.files[i].name == name {
			a.files[i].data = data
			return
		}
	}
	a.files = append(a.files, archiveFile{name, data})
}

func (a *archive) get(name string) []byte {
	for _, f := range a.files {
		if f.name == name {
			return f.data
		}
	}
	return nil
}

func (a *archive) write(t testing.TB, path string) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(a.comment)
	for _, f := range a.files {
		b.WriteString("-- " + f.name + " --\n")
		b.Write(f.data)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
