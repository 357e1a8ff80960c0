package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inState waits for a state and checks that the accepted tree was kept.
func inState(t *testing.T, w *Watcher, state State, problem string, kept files) {
	t.Helper()
	s := eventually(t, w, string(state)+" "+problem, func(s Snapshot) bool {
		return s.State == state && strings.Contains(s.Problem, problem)
	})
	if got := contents(s.Tree); len(got) != len(kept) || got["a.yaml"] != kept["a.yaml"] {
		t.Errorf("%s: the tree is %v, want the last good one, %v", state, got, kept)
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join(dir, "later", "config")
	w := follow(t, Options{Root: root, Rescan: time.Hour})
	inState(t, w, StateMissing, "does not exist", nil)

	must(t, os.MkdirAll(root, 0o755)) // also the folder above was missing
	inState(t, w, StateEmpty, "no *.yaml", nil)

	v1 := files{"a.yaml": "a: 1\n"}
	write(t, "a: 1\n", root, "a.yaml")
	holds(t, w, v1)

	must(t, os.RemoveAll(root))
	inState(t, w, StateMissing, "does not exist", v1)
	write(t, "a: 1\n", root, "a.yaml")
	holds(t, w, v1)

	must(t, os.Rename(filepath.Dir(root), filepath.Join(dir, "away")))
	inState(t, w, StateMissing, "does not exist", v1)
	must(t, os.Rename(filepath.Join(dir, "away"), filepath.Dir(root)))
	holds(t, w, v1)

	must(t, os.Remove(filepath.Join(root, "a.yaml")))
	inState(t, w, StateEmpty, "no *.yaml", v1)
	must(t, os.RemoveAll(root))
	must(t, os.Symlink("worktrees/1", root))
	inState(t, w, StateMissing, "dangling symbolic link", v1)
	write(t, "a: 2\n", dir, "later/worktrees/1/a.yaml")
	holds(t, w, files{"a.yaml": "a: 2\n"})
}

func TestRefusedAndMended(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	good := files{"a.yaml": "a: 1\n"}
	write(t, "a: 1\n", root, "a.yaml")
	write(t, "secret\n", filepath.Dir(root), "outside.yaml")
	w := follow(t, Options{Root: root, Rescan: time.Hour})
	holds(t, w, good)
	bad := filepath.Join(root, "bad.yaml")
	for problem, breakIt := range map[string]func() error{
		"bad.yaml: FIFO": func() error { return syscall.Mkfifo(bad, 0o644) },
		"bad.yaml: symbolic link out of the root, to ../outside.yaml": func() error {
			return os.Symlink("../outside.yaml", bad)
		},
		"bad.yaml: symbolic link to nowhere: no such file": func() error { return os.Symlink("nowhere", bad) },
		"bad.yaml: symbolic link to a folder above it":     func() error { return os.Symlink(".", bad) },
		"bad.yaml: 1048577 bytes, the limit is 1048576": func() error {
			return os.WriteFile(bad, make([]byte, MaxFile+1), 0o644)
		},
	} {
		must(t, breakIt())
		inState(t, w, StateRefused, problem, good)
		must(t, os.Remove(bad))
		holds(t, w, good)
	}
}

func TestBusyMarkers(t *testing.T) {
	t.Parallel()
	for _, marker := range []string{".git/index.lock", "sub/.~tmp~/x", ".web.yaml.aB3x9Z"} {
		t.Run(marker, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			write(t, "a: 1\n", root, "a.yaml")
			must(t, os.MkdirAll(filepath.Join(root, ".git"), 0o755))
			w := follow(t, Options{Root: root, Wait: 3 * testQuiet})
			holds(t, w, files{"a.yaml": "a: 1\n"})
			write(t, "", root, marker)
			write(t, "a: 2\n", root, "a.yaml")
			inState(t, w, StateUnstable, "a tool is writing", files{"a.yaml": "a: 1\n"})
			must(t, os.RemoveAll(filepath.Join(root, strings.TrimSuffix(marker, "/x"))))
			holds(t, w, files{"a.yaml": "a: 2\n"})
		})
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, "a: 1\n", root, "a.yaml")
	w := follow(t, Options{Root: root, Rescan: time.Hour}, func(w *Watcher) {
		w.open = func() (notifier, error) { return newDeaf(nil), nil }
	})
	holds(t, w, files{"a.yaml": "a: 1\n"})
	write(t, "a: 2\n", root, "a.yaml")
	w.Reload()
	holds(t, w, files{"a.yaml": "a: 2\n"})
}

// deaf is a notifier that hears nothing.
type deaf struct {
	addError error
	events   chan fsnotify.Event
	errors   chan error
}

func newDeaf(addError error) deaf {
	return deaf{addError, make(chan fsnotify.Event), make(chan error)}
}

func (d deaf) Add(string) error    { return d.addError }
func (d deaf) Remove(string) error { return nil }
func (d deaf) Close() error        { return nil }
func (d deaf) Channels() (<-chan fsnotify.Event, <-chan error) {
	return d.events, d.errors
}

func TestOverflowLooksAtOnce(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, "a: 1\n", root, "a.yaml")
	d := newDeaf(nil)
	w := follow(t, Options{Root: root, Rescan: time.Hour}, func(w *Watcher) {
		w.open = func() (notifier, error) { return d, nil }
	})
	holds(t, w, files{"a.yaml": "a: 1\n"})
	write(t, "a: 2\n", root, "a.yaml")
	d.errors <- fsnotify.ErrEventOverflow
	holds(t, w, files{"a.yaml": "a: 2\n"})
}

func TestPolls(t *testing.T) {
	t.Parallel()
	limit := os.NewSyscallError("inotify_add_watch", syscall.ENOSPC)
	for reason, prepare := range map[string]func(*Watcher){
		"asked for": func(w *Watcher) { w.o.Mode = ModePoll },
		"fs.inotify.max_user_watches": func(w *Watcher) {
			w.open = func() (notifier, error) { return newDeaf(limit), nil }
		},
		"fs.inotify.max_user_instances": func(w *Watcher) {
			w.open = func() (notifier, error) { return nil, fmt.Errorf("inotify: %w", syscall.EMFILE) }
		},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			write(t, "a: 1\n", root, "a.yaml")
			w := follow(t, Options{Root: root, Rescan: time.Hour}, prepare)
			s := holds(t, w, files{"a.yaml": "a: 1\n"})
			if !s.Polling || !strings.Contains(s.PollReason, reason) {
				t.Errorf("polling %v %q, want the reason %q", s.Polling, s.PollReason, reason)
			}
			write(t, "a: 2\n", root, "a.yaml")
			holds(t, w, files{"a.yaml": "a: 2\n"})
		})
	}
}

func TestNothingNewIsNotTold(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, "a: 1\n", root, "a.yaml")
	write(t, "b: 1\n", root, "b.yaml")
	w := follow(t, Options{Root: root})
	before := holds(t, w, files{"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})
	write(t, "a: 1\n", root, "a.yaml") // written again, not changed
	write(t, "b: 2\n", root, "b.yaml")
	after := holds(t, w, files{"a.yaml": "a: 1\n", "b.yaml": "b: 2\n"})
	write(t, "b: 1\n", root, "b.yaml")
	again := holds(t, w, files{"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})
	if before.Tree.Digest == after.Tree.Digest || before.Tree.Digest != again.Tree.Digest {
		t.Errorf("digests %s, %s, %s: want the first and the last alike", before.Tree.Digest, after.Tree.Digest, again.Tree.Digest)
	}
	select {
	case <-w.Changes():
		if s := w.Latest(); s.At != again.At {
			t.Errorf("told of %+v", s)
		}
	default:
	}
}

// TestFolderThatCannotBeWatched: a folder above the root that may be passed
// and not listed is no reason to poll; one that holds a link is.
func TestFolderThatCannotBeWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, "a: 1\n", dir, "plain/config/a.yaml")
	must(t, os.Symlink("plain/config", filepath.Join(dir, "link")))
	for root, polling := range map[string]bool{"plain/config": false, "link": true} {
		w := follow(t, Options{Root: filepath.Join(dir, root)}, func(w *Watcher) {
			w.open = func() (notifier, error) { return shut{newDeaf(nil), dir}, nil }
		})
		if s := holds(t, w, files{"a.yaml": "a: 1\n"}); s.Polling != polling {
			t.Errorf("%s: polling %v %q, want %v", root, s.Polling, s.PollReason, polling)
		}
	}
}

// shut is a notifier that may not watch one folder.
type shut struct {
	deaf
	dir string
}

func (s shut) Add(dir string) error {
	if dir == s.dir {
		return syscall.EACCES
	}
	return nil
}

// TestNewCommitOfTheSameTree makes sure that the revision is followed also
// where no document changes.
func TestNewCommitOfTheSameTree(t *testing.T) {
	t.Parallel()
	needs(t, "git")
	repo := t.TempDir()
	root := filepath.Join(repo, "deploy")
	write(t, "a: 1\n", root, "a.yaml")
	command(t, repo, "git", "init", "-q", "-b", "main")
	command(t, repo, "git", "add", "-A")
	command(t, repo, "git", "commit", "-qm", "1")
	w := follow(t, Options{Root: root, Rescan: time.Hour})
	first := command(t, repo, "git", "rev-parse", "HEAD")
	s := eventually(t, w, "the first commit", func(s Snapshot) bool { return s.Tree.Revision == first })
	if want := "main@" + first[:7]; s.Tree.Label() != want {
		t.Errorf("label %s, want %s", s.Tree.Label(), want)
	}
	write(t, "changed", repo, "README")
	command(t, repo, "git", "add", "-A")
	command(t, repo, "git", "commit", "-qm", "2")
	second := command(t, repo, "git", "rev-parse", "HEAD")
	eventually(t, w, "the second commit", func(s Snapshot) bool { return s.Tree.Revision == second })
}
