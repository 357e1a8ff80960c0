package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	root := t.TempDir()
	for name, content := range (files{
		"b.yaml": "b", "a/x.yml": "x", "a.json": "{}", "README.md": "no", "a/.hidden.yaml": "no",
		".git/config.yaml": "no", "empty.yaml": "", "deep/er/c.yaml": "c",
	}) {
		write(t, content, root, name)
	}
	write(t, "readme", filepath.Dir(root), "readme.txt")
	must(t, os.Symlink("../../readme.txt", filepath.Join(root, "a/readme.txt"))) // is not read, so it may
	must(t, os.Symlink("deep", filepath.Join(root, "linked")))
	must(t, os.Symlink(filepath.Join(root, "b.yaml"), filepath.Join(root, "absolute.yaml")))
	tree, err := Read(root)
	must(t, err)
	want := files{
		"b.yaml": "b", "a/x.yml": "x", "a.json": "{}", "empty.yaml": "", "deep/er/c.yaml": "c",
		"linked/er/c.yaml": "c", "absolute.yaml": "b",
	}
	if d := cmp.Diff(want, contents(tree)); d != "" {
		t.Error(d)
	}
	for i := range tree.Files[1:] {
		if tree.Files[i].Path >= tree.Files[i+1].Path {
			t.Errorf("%s before %s", tree.Files[i].Path, tree.Files[i+1].Path)
		}
	}
	if tree.Revision != tree.Digest || !strings.HasPrefix(tree.Digest, "sha256:") {
		t.Errorf("revision %s, digest %s", tree.Revision, tree.Digest)
	}
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	must(t, os.Symlink("away/far", filepath.Join(dir, "dangling")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	write(t, "x", dir, "file")
	for i := range MaxTree/MaxFile + 1 {
		write(t, strings.Repeat("#", MaxFile), dir, "large", fmt.Sprintf("%03d.yaml", i))
	}
	for name, want := range map[string]struct {
		err  error
		text string
	}{
		"gone":     {ErrMissing, "gone does not exist"},
		"gone/too": {ErrMissing, "too does not exist"},
		"dangling": {ErrMissing, "dangling → away/far"},
		"file/x":   {ErrMissing, "x does not exist"},
		"empty":    {ErrEmpty, "no *.yaml"},
		"loop":     {ErrRefused, "too many levels"},
		"file":     {ErrRefused, "is not a folder"},
		"large":    {ErrRefused, "064.yaml: the tree has more than 67108864 bytes"},
	} {
		_, err := Read(filepath.Join(dir, name))
		if !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, want.err, want.text)
		}
	}
}

func TestRevision(t *testing.T) {
	needs(t, "git")
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	write(t, "a: 1\n", repo, "deploy/a.yaml")
	git := func(args ...string) string { return command(t, repo, "git", args...) }
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-qm", "1")
	hash := git("rev-parse", "HEAD")
	git("worktree", "add", "-q", "--detach", "../worktrees/"+hash)
	git("worktree", "add", "-q", "-b", "side/x", "../worktrees/side")
	git("pack-refs", "--all")
	write(t, "v1.2.3\nmore\n", dir, "named/.revision")
	write(t, "a: 1\n", dir, "named/a.yaml")
	write(t, "evil\x1b[31m\n", dir, "evil/.revision")
	write(t, "a: 1\n", dir, "evil/a.yaml")
	write(t, "a: 1\n", dir, "20260102/a.yaml")
	for link, target := range (files{
		"current": "worktrees/" + hash, "deploy": "current/deploy", "date": "20260102", "short": "4f2c9e1", "4f2c9e1": "named",
	}) {
		must(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	for root, want := range (files{
		"repo": "main@" + hash[:7], "repo/deploy": "main@" + hash[:7], "worktrees/side": "side/x@" + hash[:7],
		"current": hash[:7], "deploy": hash[:7], "named": "v1.2.3", "short": "4f2c9e1",
		"evil": "sha256:", "date": "sha256:",
	}) {
		tree, err := Read(filepath.Join(dir, root))
		must(t, err)
		if got := tree.Label(); got != want && (want != "sha256:" || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: %s, want %s", root, got, want)
		}
	}
}

// TestOneChangedFileIsOneRead checks that contents come from the cache, and
// that a file that could have changed within a tick of ctime does not.
func TestOneChangedFileIsOneRead(t *testing.T) {
	root := t.TempDir()
	for i := range 200 {
		write(t, "x", root, fmt.Sprintf("%03d.yaml", i))
	}
	r := newReader()
	first, _, err := r.snapshot(root)
	must(t, err)
	for path, c := range r.cache { // as if they had been read long after they were written
		c.racy = false
		r.cache[path] = c
	}
	write(t, "y", root, "007.yaml")
	r.reads = 0
	second, _, err := r.snapshot(root)
	must(t, err)
	if r.reads != 1 || contents(second)["007.yaml"] != "y" || first.Digest == second.Digest {
		t.Errorf("%d reads, want 1", r.reads)
	}
	if &first.Files[0].Content[0] != &second.Files[0].Content[0] {
		t.Error("contents of an unchanged file are not shared")
	}
	if !r.racy() {
		t.Error("a file that was just written is trusted")
	}
	r.reads = 0
	_, _, err = r.snapshot(root)
	must(t, err)
	if r.reads != 1 {
		t.Errorf("%d reads, want the racy file again", r.reads)
	}
}
