package source

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

type files = map[string]string

// TestDelivery brings a second version by each of the ways in which trees are
// delivered and waits for it.
func TestDelivery(t *testing.T) {
	v1 := files{"a.yaml": "a: 1\n", "services/web.yaml": "web: 1\n", "old.json": "{}\n"}
	v2 := files{"a.yaml": "a: 2\n", "services/web.yaml": "web: 2\n", "pods/new/p.yml": "p: 2\n"}
	put := func(t *testing.T, dir string, version files) {
		for name, content := range version {
			write(t, content, dir, name)
		}
	}
	ways := map[string]func(t *testing.T, dir, root string) (second func()){
		"git checkout in place": func(t *testing.T, _, root string) func() {
			needs(t, "git")
			put(t, root, v1)
			command(t, root, "git", "init", "-q", "-b", "main")
			command(t, root, "git", "add", "-A")
			command(t, root, "git", "commit", "-qm", "1")
			command(t, root, "git", "checkout", "-qb", "next")
			command(t, root, "git", "rm", "-qrf", ".")
			put(t, root, v2)
			command(t, root, "git", "add", "-A")
			command(t, root, "git", "commit", "-qm", "2")
			command(t, root, "git", "checkout", "-q", "main")
			return func() { command(t, root, "git", "checkout", "-q", "next") }
		},
		"rsync": func(t *testing.T, dir, root string) func() {
			needs(t, "rsync")
			put(t, root, v1)
			put(t, filepath.Join(dir, "from"), v2)
			return func() { command(t, dir, "rsync", "-aI", "--delete", "from/", root+"/") }
		},
		"rsync --delay-updates": func(t *testing.T, dir, root string) func() {
			needs(t, "rsync")
			put(t, root, v1)
			put(t, filepath.Join(dir, "from"), v2)
			return func() { command(t, dir, "rsync", "-aI", "--delete", "--delay-updates", "from/", root+"/") }
		},
		"cp -p": func(t *testing.T, dir, root string) func() {
			put(t, root, v1)
			put(t, filepath.Join(dir, "from"), v2)
			return func() {
				command(t, dir, "cp", "-pr", "from/.", root)
				must(t, os.Remove(filepath.Join(root, "old.json")))
			}
		},
		"symlink swap": func(t *testing.T, dir, root string) func() {
			put(t, filepath.Join(dir, "worktrees/1"), v1)
			put(t, filepath.Join(dir, "worktrees/2"), v2)
			must(t, os.Symlink("worktrees/1", filepath.Join(dir, "current")))
			must(t, os.Symlink("current", root))
			return func() { swapLink(t, "worktrees/2", filepath.Join(dir, "current")) }
		},
		"ConfigMap volume": func(t *testing.T, _, root string) func() {
			put(t, filepath.Join(root, "..1"), v1)
			must(t, os.Symlink("..1", filepath.Join(root, "..data")))
			for _, name := range []string{"a.yaml", "old.json", "services"} {
				must(t, os.Symlink("..data/"+name, filepath.Join(root, name)))
			}
			return func() {
				put(t, filepath.Join(root, "..2"), v2)
				must(t, os.Symlink("..data/pods", filepath.Join(root, "pods")))
				swapLink(t, "..2", filepath.Join(root, "..data"))
				must(t, os.Remove(filepath.Join(root, "old.json")))
				must(t, os.RemoveAll(filepath.Join(root, "..1")))
			}
		},
		"editor": func(t *testing.T, _, root string) func() {
			put(t, root, v1)
			return func() {
				for name, content := range v2 {
					write(t, content, root, name+"~")
					must(t, os.Rename(filepath.Join(root, name+"~"), filepath.Join(root, name)))
				}
				must(t, os.Remove(filepath.Join(root, "old.json")))
			}
		},
		"folder renamed into place": func(t *testing.T, dir, root string) func() {
			put(t, root, v1)
			put(t, filepath.Join(dir, "from"), v2)
			return func() {
				must(t, os.Rename(root, filepath.Join(dir, "old")))
				must(t, os.Rename(filepath.Join(dir, "from"), root))
			}
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			root := filepath.Join(dir, "config")
			second := way(t, dir, root)
			w := follow(t, Options{Root: root, Rescan: time.Hour})
			holds(t, w, v1)
			second()
			start := time.Now()
			s := holds(t, w, v2)
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
