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
	write(t, name+"\n", dir, "only-"+name+".yaml")
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
	if len(all) != switchedFiles+1 || all["only-"+name+".yaml"] == "" {
		t.Errorf("a tree of version %q with %d files", name, len(all))
	}
	return name
}

// TestOnlyWholeVersions switches between two versions in each way under a busy
// reader, in bursts whose last version has to arrive.
func TestOnlyWholeVersions(t *testing.T) {
	needs(t, "git")
	needs(t, "rsync")
	ways := map[string]func(t *testing.T, dir, root string) func(name string){
		"git checkout in place": func(t *testing.T, _, root string) func(string) {
			must(t, os.MkdirAll(root, 0o755))
			command(t, root, "git", "init", "-q", "-b", "main")
			for _, name := range []string{"one", "two"} {
				command(t, root, "git", "checkout", "-q", "--orphan", name)
				command(t, root, "git", "rm", "-qrf", "--ignore-unmatch", ".")
				version(t, root, name)
				command(t, root, "git", "add", "-A")
				command(t, root, "git", "commit", "-qm", name)
			}
			return func(name string) { command(t, root, "git", "checkout", "-qf", name) }
		},
		"rsync":                 rsyncSwitch(),
		"rsync --delay-updates": rsyncSwitch("--delay-updates"),
		"cp -p": func(t *testing.T, dir, root string) func(string) {
			version(t, filepath.Join(dir, "one"), "one")
			version(t, filepath.Join(dir, "two"), "two")
			must(t, os.Mkdir(root, 0o755))
			other := map[string]string{"one": "two", "two": "one"}
			return func(name string) {
				command(t, dir, "cp", "-pr", name+"/.", root)
				must(t, os.RemoveAll(filepath.Join(root, "only-"+other[name]+".yaml")))
			}
		},
		"symlink swap": func(t *testing.T, dir, root string) func(string) {
			version(t, filepath.Join(dir, "one"), "one")
			version(t, filepath.Join(dir, "two"), "two")
			return func(name string) { swapLink(t, name, root) }
		},
	}
	type following struct {
		accepted <-chan Tree
		change   func(name string)
	}
	all := make(map[string]following)
	for way, prepare := range ways {
		dir := t.TempDir()
		root := filepath.Join(dir, "config")
		change := prepare(t, dir, root)
		all[way] = following{readBusily(t, root), change}
	}
	end := time.After(deadline)
	for burst := range 2 {
		name, other := [2]string{"one", "two"}[burst], [2]string{"two", "one"}[burst]
		for range 4 {
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
		s, r := settle{quiet: time.Second}, newReader()
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			l := lookAt(root)
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

// rsyncSwitch delivers with rsync.
func rsyncSwitch(flags ...string) func(t *testing.T, dir, root string) func(string) {
	return func(t *testing.T, dir, root string) func(string) {
		version(t, filepath.Join(dir, "one"), "one")
		version(t, filepath.Join(dir, "two"), "two")
		return func(name string) {
			args := append([]string{"-aI", "--delete", name + "/", root + "/"}, flags...)
			command(t, dir, "rsync", args...)
		}
	}
}

// TestReadWhileSwapped reads without quiet while links are swapped all the
// time: what Read accepts is whole all the same.
func TestReadWhileSwapped(t *testing.T) {
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprintf("inside=%v", inside), func(t *testing.T) {
			dir := t.TempDir()
			root, link := filepath.Join(dir, "config"), filepath.Join(dir, "config")
			if inside { // a ConfigMap volume
				must(t, os.Mkdir(root, 0o755))
				link = filepath.Join(root, "..data")
				for i := range 5 {
					must(t, os.Symlink(fmt.Sprintf("..data/d%d", i), filepath.Join(root, fmt.Sprintf("d%d", i))))
				}
			}
			for _, name := range []string{"one", "two"} {
				version(t, filepath.Join(filepath.Dir(link), ".."+name), name)
				if inside {
					write(t, name+"\n", root, ".."+name, "only/only-"+name+".yaml")
				}
			}
			if inside {
				must(t, os.Symlink("..data/only", filepath.Join(root, "only")))
			}
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
				switch tree, err := Read(root); {
				case errors.Is(err, ErrUnstable):
					unstable++
				case err != nil:
					t.Fatal(err)
				default:
					accepted++
					for i, f := range tree.Files {
						tree.Files[i].Path = strings.TrimPrefix(f.Path, "only/")
					}
					checkWhole(t, tree)
				}
			}
			close(stop)
			<-stopped
			if accepted == 0 {
				t.Error("nothing was accepted")
			}
			t.Logf("%d accepted, all whole; %d unstable", accepted, unstable)
		})
	}
}
