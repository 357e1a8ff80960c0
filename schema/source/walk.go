package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// walker lists a tree into a look. Everything is opened beneath the root, so
// that no symbolic link leads the walk, or a later read, out of it.
type walker struct {
	root  *os.Root
	look  *look
	bytes int64
	open  []id // folders from the root down to the current one
}

// walk lists the resolved root.
func walk(l *look) error {
	root, s, err := l.openRoot()
	if err != nil {
		return walkError(".", err)
	}
	defer root.Close()
	l.rootID = s.id
	w := &walker{root: root, look: l}
	err = w.folder(".", ".")
	slices.SortFunc(l.files, func(a, b document) int { return strings.Compare(a.path, b.path) })
	return err
}

// folder lists the folder real (below the root, without symbolic links) that
// the tree calls name.
func (w *walker) folder(name, real string) error {
	dir, err := w.root.OpenRoot(real)
	if err != nil {
		return walkError(name, err)
	}
	defer dir.Close()
	info, err := dir.Stat(".")
	if err != nil {
		return walkError(name, err)
	}
	s := stampOf(info)
	if slices.Contains(w.open, s.id) {
		return fmt.Errorf("%w: %s: symbolic link to a folder above it", ErrRefused, name)
	}
	w.open = append(w.open, s.id)
	defer func() { w.open = w.open[:len(w.open)-1] }()
	if err := w.look.add(entry{path: name, stamp: s}); err != nil {
		return err
	}
	w.look.watchAll(path.Join(w.look.resolved, real), s.id)
	return w.list(dir, name, real)
}

// list records what is in an open folder. Trees have tens of thousands of
// files and are walked several times for each change: no FileInfo is made.
func (w *walker) list(dir *os.Root, name, real string) error {
	f, err := dir.Open(".")
	if err != nil {
		return walkError(name, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return walkError(name, err)
	}
	slices.Sort(names)
	for _, base := range names {
		inTree := join(name, base)
		inRoot := inTree
		if real != name {
			inRoot = join(real, base)
		}
		if w.look.busy == "" && isBusyMarker(dir, base) {
			w.look.busy = inTree
		}
		if strings.HasPrefix(base, ".") {
			continue
		}
		if err := w.entry(f, base, inTree, inRoot); err != nil {
			return err
		}
	}
	return nil
}

// join is path.Join for names that are clean.
func join(folder, base string) string {
	if folder == "." {
		return base
	}
	return folder + "/" + base
}

// entry records one name of an open folder.
func (w *walker) entry(folder *os.File, base, name, real string) error {
	s, err := stampAt(folder, base)
	if err != nil {
		return walkError(name, err)
	}
	if s.mode&fs.ModeSymlink != 0 {
		return w.link(name, real, s)
	}
	return w.inode(name, real, s)
}

// inode records a name that is not a symbolic link.
func (w *walker) inode(name, real string, s stamp) error {
	switch {
	case s.mode.IsDir():
		return w.folder(name, real)
	case !s.mode.IsRegular():
		return fmt.Errorf("%w: %s: %s", ErrRefused, name, kindOf(s.mode))
	case !isDocument(name):
		return nil
	case s.size > MaxFile:
		return fmt.Errorf("%w: %s: %d bytes, the limit is %d", ErrRefused, name, s.size, MaxFile)
	}
	if w.bytes += s.size; w.bytes > MaxTree {
		return fmt.Errorf("%w: %s: the tree has more than %d bytes", ErrRefused, name, MaxTree)
	}
	w.look.files = append(w.look.files, document{path: name, real: real, stamp: s})
	return w.look.add(entry{path: name, stamp: s})
}

// link follows a symbolic link that has to end inside the root. Each name on
// the way is part of the look: ConfigMap volumes swap one in the middle.
func (w *walker) link(name, real string, s stamp) error {
	end, lookups, err := resolve(path.Join(w.look.resolved, path.Dir(real)), path.Base(real))
	w.look.follow(lookups)
	for _, step := range lookups {
		if err := w.look.add(entry{path: name, target: step.link, stamp: step.stamp}); err != nil {
			return err
		}
	}
	if len(lookups) == 0 || lookups[0].link == "" {
		return fmt.Errorf("%w: %s changed while it was read", ErrUnstable, name)
	}
	target := lookups[0].link
	if err != nil {
		return fmt.Errorf("%w: %s: symbolic link to %s: %w", ErrRefused, name, target, rootCause(err))
	}
	inside, ok := below(w.look.resolved, end)
	last := lookups[len(lookups)-1].stamp
	if !ok && last.mode.IsRegular() && !isDocument(name) {
		return nil
	}
	if !ok {
		return fmt.Errorf("%w: %s: symbolic link out of the root, to %s", ErrRefused, name, target)
	}
	info, err := w.root.Lstat(inside)
	if err != nil {
		return walkError(name, err)
	}
	return w.inode(name, inside, stampOf(info))
}

// isDocument reports whether a file of this name is read.
func isDocument(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// kindOf names what is neither a file nor a folder.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "FIFO"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "not a file"
}

// walkError tells what vanished under the walk (somebody is writing) from
// what cannot be read.
func walkError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ESTALE) {
		return fmt.Errorf("%w: %s changed while it was read", ErrUnstable, name)
	}
	return fmt.Errorf("%w: %s: %w", ErrRefused, name, rootCause(err))
}

// rootCause takes the path and the system call off an error whose object is
// named already.
func rootCause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
