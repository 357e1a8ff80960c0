package source

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Both ways to a stamp give the same one: looks are compared.
func TestStampsAgree(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("x"), 0o640), os.Mkdir(at("folder"), 0o750), os.Symlink("file", at("link")),
		syscall.Mkfifo(at("fifo"), 0o600), os.WriteFile(at("odd"), nil, 0o644), os.Chmod(at("odd"), 0o755|os.ModeSetuid|os.ModeSetgid|os.ModeSticky),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	for _, name := range []string{"file", "folder", "link", "fifo", "odd", "../" + filepath.Base(dir)} {
		info, err := os.Lstat(at(name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := stampAt(folder, name)
		if want := stampOf(info); err != nil || got != want {
			t.Errorf("%s: %v, %v; Lstat says %v", name, got, err, want)
		}
	}
	if device, err := os.Open("/dev"); err == nil {
		defer device.Close()
		info, _ := os.Lstat("/dev/null")
		if got, err := stampAt(device, "null"); err != nil || got != stampOf(info) {
			t.Errorf("/dev/null: %v, %v; Lstat says %v", got, err, stampOf(info))
		}
	}
}
