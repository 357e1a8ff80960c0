package source

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

type files = map[string]string

// delivery puts a first version at the root and gives what brings the second.
type delivery func(t *testing.T, dir, root string) (second func())

// TestDelivery brings a second version by each of the ways in which trees are
// delivered and waits for it.
func TestDelivery(t *testing.T) {
	for name, deliver := range map[string]delivery{
		"git checkout in place":     byGit,
		"rsync":                     byRsync(),
		"rsync --delay-updates":     byRsync("--delay-updates"),
		"cp -p":                     byCopy,
		"symlink swap":              bySwap,
		"ConfigMap volume":          byConfigMap,
		"editor":                    byEditor,
		"folder renamed into place": byRename,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			root := filepath.Join(dir, "config")
			second := deliver(t, dir, root)
			w := follow(t, Options{Root: root, Rescan: time.Hour})
			holds(t, w, firstVersion())
			second()
			start := time.Now()
			s := holds(t, w, secondVersion())
			t.Logf("%v after the write, with %v of quiet", time.Since(start).Round(time.Millisecond), testQuiet)
			if s.Polling {
				t.Errorf("polls: %s", s.PollReason)
			}
			// The watches follow the new version.
			write(t, "a: 3\n", root, "a.yaml")
			eventually(t, w, "an edit of the second version", func(s Snapshot) bool {
				return contents(s.Tree)["a.yaml"] == "a: 3\n"
			})
		})
	}
}

func firstVersion() files {
	return files{"a.yaml": "a: 1\n", "services/web.yaml": "web: 1\n", "old.json": "{}\n"}
}

func secondVersion() files {
	return files{"a.yaml": "a: 2\n", "services/web.yaml": "web: 2\n", "pods/new/p.yml": "p: 2\n"}
}

// put writes a version into a folder.
func put(t *testing.T, dir string, version files) {
	t.Helper()
	for name, content := range version {
		write(t, content, dir, name)
	}
}

func byGit(t *testing.T, _, root string) func() {
	needs(t, "git")
	git := func(args ...string) { command(t, root, "git", args...) }
	put(t, root, firstVersion())
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-qm", "1")
	git("checkout", "-qb", "next")
	git("rm", "-qrf", ".")
	put(t, root, secondVersion())
	git("add", "-A")
	git("commit", "-qm", "2")
	git("checkout", "-q", "main")
	return func() { git("checkout", "-q", "next") }
}

func byRsync(flags ...string) delivery {
	return func(t *testing.T, dir, root string) func() {
		needs(t, "rsync")
		put(t, root, firstVersion())
		put(t, filepath.Join(dir, "from"), secondVersion())
		// -I: files of the same size that were written in the same second.
		args := append([]string{"-aI", "--delete", "from/", root + "/"}, flags...)
		return func() { command(t, dir, "rsync", args...) }
	}
}

func byCopy(t *testing.T, dir, root string) func() {
	put(t, root, firstVersion())
	put(t, filepath.Join(dir, "from"), secondVersion())
	return func() {
		command(t, dir, "cp", "-pr", "from/.", root)
		must(t, os.Remove(filepath.Join(root, "old.json")))
	}
}

// bySwap has two links on the path, as git-sync and a link to its link.
func bySwap(t *testing.T, dir, root string) func() {
	put(t, filepath.Join(dir, "worktrees/1"), firstVersion())
	put(t, filepath.Join(dir, "worktrees/2"), secondVersion())
	must(t, os.Symlink("worktrees/1", filepath.Join(dir, "current")))
	must(t, os.Symlink("current", root))
	return func() { swapLink(t, "worktrees/2", filepath.Join(dir, "current")) }
}

// byConfigMap has links in the root through a link that is swapped.
func byConfigMap(t *testing.T, _, root string) func() {
	put(t, filepath.Join(root, "..1"), firstVersion())
	must(t, os.Symlink("..1", filepath.Join(root, "..data")))
	for _, name := range []string{"a.yaml", "old.json", "services"} {
		must(t, os.Symlink("..data/"+name, filepath.Join(root, name)))
	}
	return func() {
		put(t, filepath.Join(root, "..2"), secondVersion())
		must(t, os.Symlink("..data/pods", filepath.Join(root, "pods")))
		swapLink(t, "..2", filepath.Join(root, "..data"))
		must(t, os.Remove(filepath.Join(root, "old.json")))
		must(t, os.RemoveAll(filepath.Join(root, "..1")))
	}
}

// byEditor saves each file under another name first.
func byEditor(t *testing.T, _, root string) func() {
	put(t, root, firstVersion())
	return func() {
		for name, content := range secondVersion() {
			write(t, content, root, name+"~")
			must(t, os.Rename(filepath.Join(root, name+"~"), filepath.Join(root, name)))
		}
		must(t, os.Remove(filepath.Join(root, "old.json")))
	}
}

func byRename(t *testing.T, dir, root string) func() {
	put(t, root, firstVersion())
	put(t, filepath.Join(dir, "from"), secondVersion())
	return func() {
		must(t, os.Rename(root, filepath.Join(dir, "old")))
		must(t, os.Rename(filepath.Join(dir, "from"), root))
	}
}
