package source

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testQuiet is the quiet time of watchers under test: as short as the ticks
// of ctime allow.
const testQuiet = 150 * time.Millisecond

// deadline is for conditions that are expected at once or nearly so.
const deadline = 30 * time.Second

// write writes a file, and the folders that it needs.
func write(t testing.TB, content string, elem ...string) {
	t.Helper()
	name := filepath.Join(elem...)
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, []byte(content), 0o644))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command runs a program that delivers a tree.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.org", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// needs skips a test that delivers with a program that is not installed.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("POPLIN_TEST_REQUIRE") == "1" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

// follow runs a watcher until the test ends.
func follow(t *testing.T, o Options, prepare ...func(*Watcher)) *Watcher {
	t.Helper()
	if o.Quiet == 0 {
		o.Quiet = testQuiet
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	w := New(o)
	for _, p := range prepare {
		p(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return w
}

// eventually waits until the latest snapshot is as wanted.
func eventually(t *testing.T, w *Watcher, what string, ok func(Snapshot) bool) Snapshot {
	t.Helper()
	end := time.After(deadline)
	for {
		s := w.Latest()
		if ok(s) {
			return s
		}
		select {
		case <-w.Changes():
		case <-end:
			t.Fatalf("not seen: %s; the latest snapshot is %s %q with %v", what, s.State, s.Problem, contents(s.Tree))
		}
	}
}

// holds waits until the tree is accepted with these contents.
func holds(t *testing.T, w *Watcher, want map[string]string) Snapshot {
	t.Helper()
	return eventually(t, w, "a tree", func(s Snapshot) bool {
		got := contents(s.Tree)
		if s.State != StateOK || len(got) != len(want) {
			return false
		}
		for path, content := range want {
			if got[path] != content {
				return false
			}
		}
		return true
	})
}

// contents gives the files of a tree.
func contents(t Tree) map[string]string {
	m := make(map[string]string)
	for _, f := range t.Files {
		m[f.Path] = string(f.Content)
	}
	return m
}

// swapLink points a symbolic link elsewhere in one step.
func swapLink(t *testing.T, target, link string) {
	t.Helper()
	temp := link + ".swap"
	must(t, os.Symlink(target, temp))
	must(t, os.Rename(temp, link))
}
