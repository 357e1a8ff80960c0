package source

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// saved gives a store with a copy of a small tree.
func saved(t *testing.T) (Store, Tree) {
	t.Helper()
	root := t.TempDir()
	write(t, "a: 1\n", root, "a.yaml")
	write(t, "b: 1\n", root, "sub/b.yaml")
	write(t, "v1\n", root, ".revision")
	tree, err := Read(root)
	must(t, err)
	s := Store{Dir: filepath.Join(t.TempDir(), "state")}
	must(t, s.Save(tree))
	return s, tree
}

func TestStore(t *testing.T) {
	s, tree := saved(t)
	got, ok, err := s.Load()
	must(t, err)
	if d := cmp.Diff(tree, got); !ok || d != "" {
		t.Error(ok, d)
	}
	before, err := os.Stat(s.path())
	must(t, err)
	must(t, s.Save(tree))
	after, err := os.Stat(s.path())
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("the same version was written again")
	}
	tree.Revision = "v2"
	must(t, s.Save(tree))
	if got, _, err = s.Load(); err != nil || got.Revision != "v2" {
		t.Errorf("revision %s (%v), want v2", got.Revision, err)
	}
	entries, err := os.ReadDir(filepath.Dir(s.path()))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("left over: %v", entries)
	}
}

func TestStoreWithoutCopy(t *testing.T) {
	if _, ok, err := (Store{Dir: t.TempDir()}).Load(); ok || err != nil {
		t.Error(ok, err)
	}
}

// TestStoreDamaged cuts the copy at each block and turns bytes around.
func TestStoreDamaged(t *testing.T) {
	s, tree := saved(t)
	whole, err := os.ReadFile(s.path())
	must(t, err)
	check := func(what string, at int, content []byte) {
		t.Helper()
		must(t, os.WriteFile(s.path(), content, 0o600))
		got, ok, err := s.Load()
		if err == nil && ok && got.Digest == tree.Digest && cmp.Equal(contents(got), contents(tree)) {
			return // padding, a time: what counts is as it was
		}
		if ok || !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%s at %d: %v %v", what, at, ok, err)
		}
		must(t, s.Save(tree)) // is not held back by the damage
		if _, ok, err := s.Load(); !ok || err != nil {
			t.Fatalf("%s at %d, saved anew: %v", what, at, err)
		}
		must(t, os.WriteFile(s.path(), whole, 0o600))
	}
	for at := 0; at < len(whole); at += 512 {
		check("cut", at, whole[:at])
	}
	for at := 0; at < len(whole); at += 37 {
		turned := append([]byte(nil), whole...)
		turned[at] ^= 0x55
		check("turned", at, turned)
	}
}
