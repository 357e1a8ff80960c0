package source

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// switchedFiles is how many files a version has in the tests below.
const switchedFiles = 60

// version makes a tree whose every file holds the version's name, and a file
// that no other version has.
func version(t *testing.T, dir, name string) {
	t.Helper()
	for i := range switchedFiles {
		write(t, strings.Repeat(name+"\n", 50), dir, fmt.Sprintf("d%d/f%02d.yaml", i%5, i))
	}
	write(t, name+"\n", dir, "only/only-"+name+".yaml")
}

// checkWhole fails unless all files are of one version, and all of them are
// there.
func checkWhole(t *testing.T, tree Tree) string {
	t.Helper()
	all := contents(tree)
	name, _, _ := strings.Cut(all["d0/f00.yaml"], "\n")
	for path, content := range all {
		if strings.ReplaceAll(content, name+"\n", "") != "" || content == "" {
			t.Errorf("%s holds %.10q in a tree of version %q", path, content, name)
		}
	}
	if len(all) != switchedFiles+1 || all["only/only-"+name+".yaml"] == "" {
		t.Errorf("a tree of version %q with %d files", name, len(all))
	}
	return name
}

// switching prepares versions one and two and gives what brings one of them.
type switching func(t *testing.T, dir, root string) func(name string)

// TestOnlyWholeVersions switches between two versions in each way under a busy
// reader, in bursts whose last version has to arrive.
func TestOnlyWholeVersions(t *testing.T) {
	needs(t, "git")
	needs(t, "rsync")
	type following struct {
		accepted <-chan Tree
		change   func(name string)
	}
	all := make(map[string]following)
	for way, prepare := range map[string]switching{
		"git checkout in place": switchGit,
		"rsync":                 switchRsync(),
		"rsync --delay-updates": switchRsync("--delay-updates"),
		"cp -p":                 switchCopy,
		"symlink swap":          switchLink,
	} {
		dir := t.TempDir()
		root := filepath.Join(dir, "config")
		change := prepare(t, dir, root)
		all[way] = following{readBusily(t, root), change}
	}
	for burst := range 2 {
		name, other := [2]string{"one", "two"}[burst], [2]string{"two", "one"}[burst]
		end := time.After(2 * deadline)
		for range 3 {
			for _, f := range all {
				f.change(other)
				f.change(name)
			}
		}
		for way, f := range all {
			for got, count := "", 0; got != name; count++ {
				select {
				case tree := <-f.accepted:
					got = checkWhole(t, tree)
				case <-end:
					t.Fatalf("%s: version %s not accepted, after %d others", way, name, count)
				}
			}
		}
	}
}

// readBusily judges and reads the root over and over, without waiting for
// events as a Watcher does, and gives what it accepted.
func readBusily(t *testing.T, root string) <-chan Tree {
	trees, stop, stopped := make(chan Tree, 1000), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		// What cp and rsync leave between two files looks whole. Quiet is long,
		// so that they are not kept from the processor for that time.
		s, r := settle{quiet: 4 * time.Second}, newReader()
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			l := lookAt(root, nil)
			if s.judge(l, time.Now(), false).kind != whole {
				continue
			}
			if tree, err := r.read(root, l); err == nil {
				s.accepted = l
				trees <- tree
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	return trees
}

func switchGit(t *testing.T, _, root string) func(string) {
	git := func(args ...string) { command(t, root, "git", args...) }
	must(t, os.MkdirAll(root, 0o755))
	git("init", "-q", "-b", "main")
	for _, name := range []string{"one", "two"} {
		git("checkout", "-q", "--orphan", name)
		git("rm", "-qrf", "--ignore-unmatch", ".")
		version(t, root, name)
		git("add", "-A")
		git("commit", "-qm", name)
	}
	return func(name string) { git("checkout", "-qf", name) }
}

func switchRsync(flags ...string) switching {
	return func(t *testing.T, dir, root string) func(string) {
		version(t, filepath.Join(dir, "one"), "one")
		version(t, filepath.Join(dir, "two"), "two")
		return func(name string) {
			command(t, dir, "rsync", append([]string{"-aI", "--delete", name + "/", root + "/"}, flags...)...)
		}
	}
}

func switchCopy(t *testing.T, dir, root string) func(string) {
	version(t, filepath.Join(dir, "one"), "one")
	version(t, filepath.Join(dir, "two"), "two")
	must(t, os.Mkdir(root, 0o755))
	other := map[string]string{"one": "two", "two": "one"}
	return func(name string) {
		command(t, dir, "cp", "-pr", name+"/.", root)
		must(t, os.RemoveAll(filepath.Join(root, "only/only-"+other[name]+".yaml")))
	}
}

func switchLink(t *testing.T, dir, root string) func(string) {
	version(t, filepath.Join(dir, "one"), "one")
	version(t, filepath.Join(dir, "two"), "two")
	return func(name string) { swapLink(t, name, root) }
}

// TestReadWhileSwapped reads without quiet while a link is swapped all the
// time, the root itself or one inside it: what Read accepts is whole all the
// same.
func TestReadWhileSwapped(t *testing.T) {
	t.Run("root", func(t *testing.T) {
		dir := t.TempDir()
		readWhileSwapped(t, filepath.Join(dir, "config"), filepath.Join(dir, "config"))
	})
	t.Run("ConfigMap volume", func(t *testing.T) {
		root := t.TempDir()
		for _, folder := range []string{"d0", "d1", "d2", "d3", "d4", "only"} {
			must(t, os.Symlink("..data/"+folder, filepath.Join(root, folder)))
		}
		readWhileSwapped(t, root, filepath.Join(root, "..data"))
	})
}

func readWhileSwapped(t *testing.T, root, link string) {
	version(t, filepath.Join(filepath.Dir(link), "..one"), "one")
	version(t, filepath.Join(filepath.Dir(link), "..two"), "two")
	swapLink(t, "..one", link)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond):
				swapLink(t, [2]string{"..two", "..one"}[i%2], link)
			}
		}
	}()
	accepted, unstable := 0, 0
	for range 150 {
		tree, err := Read(root)
		switch {
		case errors.Is(err, ErrUnstable):
			unstable++
		case err != nil:
			t.Error(err)
		default:
			accepted++
			checkWhole(t, tree)
		}
	}
	close(stop)
	<-stopped
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
	t.Logf("%d accepted, all whole; %d unstable", accepted, unstable)
}
