package linux_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/linux"
)

func file(path, body string) reconciler.File {
	return reconciler.File{Path: path, Mode: 0o644, Content: reconciler.FileMark("test", filepath.Base(path)) + body}
}

// pause is how long nothing must happen until it is quiet.
const pause = 20 * time.Millisecond

// exampleFiles are two files, one below directories that are not there yet.
func exampleFiles() []reconciler.Object {
	secret := file("/run/poplin/pods/default_web-1/resolv.conf", "nameserver 10.96.0.10\n")
	secret.Mode = 0o600
	return []reconciler.Object{file("/run/poplin/subnet.env", "FLANNEL_MTU=1472\n"), secret}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func TestFiles(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	must(t, os.Mkdir("/run/poplin", 0o755))
	n := newNode(t)
	round := n.settle(t, exampleFiles()...)
	if len(round.Plan) != 2 {
		t.Errorf("one pass should do: %v", round.Plan)
	}
	if text := read(t, "/run/poplin/subnet.env"); text != "# poplin test/subnet.env\nFLANNEL_MTU=1472\n" {
		t.Errorf("subnet.env: %q", text)
	}
	if left, _ := filepath.Glob("/run/poplin/.*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	again := reopen(t, n.options)
	again.wantState(t, exampleFiles()...)
	changed := []reconciler.Object{file("/run/poplin/subnet.env", "FLANNEL_MTU=1400\n")}
	again.settle(t, changed...)
	if _, err := os.Stat("/run/poplin/pods"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory of ours stays: %v", err)
	}
	must(t, again.Cleanup(t.Context(), linux.CleanupOptions{}))
	if entries, err := os.ReadDir("/run/poplin"); err != nil || len(entries) > 0 {
		t.Errorf("a directory of somebody else's holds %v, %v", entries, err)
	}
	if _, err := os.Stat(filepath.Join(n.options.StateDir, "files.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files.json: %v", err)
	}
}

func TestFilesDriftIsHeardAndMended(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	const path = "/run/poplin/pods/default_web-1/resolv.conf"
	n := newNode(t)
	n.run(t)
	n.settle(t, exampleFiles()...)
	for _, d := range []struct {
		name string
		by   func() error
	}{
		{"edited", func() error { return os.WriteFile(path, []byte(read(t, path)+"more\n"), 0o600) }},
		{"replaced", func() error {
			must(t, os.WriteFile("/run/other", []byte(read(t, path)+"other\n"), 0o600))
			return os.Rename("/run/other", path)
		}},
		{"emptied", func() error { return os.Truncate(path, 0) }},
		{"another mode", func() error { return os.Chmod(path, 0o644) }},
		{"removed", func() error { return os.Remove(path) }},
		{"moved", func() error { return os.Rename(path, path+".old") }},
		{"directory removed", func() error { return os.RemoveAll("/run/poplin/pods") }},
		{"directory moved", func() error { return os.Rename("/run/poplin/pods/default_web-1", "/run/poplin/pods/other") }},
	} {
		n.quiet(t, pause)
		must(t, d.by())
		took := n.awaitChange(t, d.name)
		round := n.settle(t, exampleFiles()...)
		t.Logf("%s: heard after %v, mended by %v", d.name, took, round.Plan)
		if len(round.Plan) == 0 {
			t.Errorf("%s: nothing to mend", d.name)
		}
	}
	// What lies beside our files is nothing to us.
	n.quiet(t, pause)
	must(t, os.WriteFile("/run/poplin/other", nil, 0o600))
	n.quiet(t, 5*pause)
}

func TestFilesOfOthers(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	must(t, os.MkdirAll("/run/poplin/pods", 0o755))
	must(t, os.WriteFile("/run/poplin/subnet.env", []byte("FLANNEL_MTU=1450\n"), 0o600))
	n := newNode(t)
	n.run(t)
	round := n.converge(t, exampleFiles()...)
	var conflict *reconciler.ConflictError
	if !errors.As(round.Err, &conflict) || conflict.Conflict.Remedy != "mv /run/poplin/subnet.env /run/poplin/subnet.env.old" {
		t.Errorf("first round: %v", round.Err)
	}
	round = n.converge(t, exampleFiles()...)
	if round.Err != nil || len(round.Conflicts) != 1 || !strings.Contains(round.Conflicts[0].What, "subnet.env exists and is not poplin's") {
		t.Errorf("second round: %v, conflicts %v", round.Err, round.Conflicts)
	}
	n.wantState(t, exampleFiles()[1])
	must(t, os.WriteFile("/run/poplin/pods/default_web-1/hosts", nil, 0o600))
	n.settle(t)
	if text := read(t, "/run/poplin/subnet.env"); text != "FLANNEL_MTU=1450\n" {
		t.Errorf("a foreign file now reads %q", text)
	}
	if _, err := os.Stat("/run/poplin/pods/default_web-1/hosts"); err != nil {
		t.Errorf("a foreign file in a directory of ours: %v", err)
	}
	// The conflict is heard to be gone.
	n.converge(t, exampleFiles()...)
	n.quiet(t, pause)
	must(t, os.Remove("/run/poplin/subnet.env"))
	n.awaitChange(t, "conflict gone")
	n.settle(t, exampleFiles()...)
	// A symbolic link is not followed.
	n.settle(t)
	must(t, os.WriteFile("/run/target", nil, 0o600))
	must(t, os.Symlink("/run/target", "/run/poplin/subnet.env"))
	if round := n.converge(t, exampleFiles()...); round.Err == nil {
		t.Error("a symbolic link was replaced")
	}
}
