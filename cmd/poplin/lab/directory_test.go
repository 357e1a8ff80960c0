//go:build linux

package lab

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"lab": true, "a": true, "a-1": true, strings.Repeat("a", 32): true,
		"": false, ".": false, "..": false, "a/b": false, "A": false, "-a": false, "a-": false, strings.Repeat("a", 33): false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestIdentityEndsWithItsProcess(t *testing.T) {
	// A name with spaces and parentheses must not confuse the reading.
	name := filepath.Join(t.TempDir(), "a) b (c")
	if err := os.Symlink("/bin/sleep", name); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	other := id
	other.StartTime++
	if err := other.kill(); err != nil {
		t.Fatal(err)
	}
	if again, err := identify(id.PID); err != nil || again != id {
		t.Fatalf("killed by the number of another: %v %v", again, err)
	}
	if err := id.kill(); err != nil {
		t.Fatal(err)
	}
	// Nobody has waited for it yet, and it is gone all the same.
	if _, err := identify(id.PID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after its end: %v", err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("not killed")
	}
	if err := id.kill(); err != nil {
		t.Error(err)
	}
}

func TestDirectoryOfAnother(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if err := os.Symlink("/etc", filepath.Join(dir, "poplin-lab")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDirectory("lab"); err == nil {
		t.Error("a symlink is accepted")
	}
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, strings.Repeat("long", 30)))
	if _, err := OpenDirectory("lab"); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("long path: %v", err)
	}
}
