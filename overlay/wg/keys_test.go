package wg

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wireguard.key")
	open := func() *Keys {
		t.Helper()
		k, err := OpenKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	k := open()
	if k.Public() != "" {
		t.Error("a key that nobody made")
	}
	must(k.Ensure())
	first := k.Public()
	must(k.Ensure())
	if k.Public() != first || open().Public() != first {
		t.Error("the key changed by itself")
	}
	info, err := os.Stat(path)
	must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := k.private(first); err != nil {
		t.Error(err)
	}
	must(k.Renew())
	if k.Public() == first || open().Public() != k.Public() {
		t.Error("the key is the former one")
	}
	if _, err := k.private(first); err == nil {
		t.Error("the private part of a former key")
	}
	must(os.WriteFile(path, []byte("no key\n"), 0o600))
	if _, err := OpenKeys(dir); err == nil {
		t.Error("a damaged key was read; a new one would follow, unasked")
	}
}
