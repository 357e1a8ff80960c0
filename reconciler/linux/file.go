package linux

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// maxFile is how many bytes of a file are read. Ours are smaller; what is
// longer differs from them in any case.
const maxFile = 16 << 20

// errForeign says that a file is not ours.
var errForeign = errors.New("is not poplin's")

// readFile reads a file of ours. The error is errForeign if it is somebody
// else's, and os.ErrNotExist if there is none. An empty file where one of ours
// was is a damaged one of ours.
func (t *Target) readFile(path string) (reconciler.File, error) { return t.readHead(path, maxFile) }

// own says whose a file is, with the errors of readFile.
func (t *Target) own(path string) error {
	_, err := t.readHead(path, int64(len("# "+t.alias)))
	return err
}

// readHead is readFile for the first bytes of a file.
func (t *Target) readHead(path string, most int64) (reconciler.File, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return reconciler.File{}, os.ErrNotExist
	case err != nil:
		return reconciler.File{}, err
	case !info.Mode().IsRegular():
		return reconciler.File{}, errForeign
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return reconciler.File{}, err
	}
	defer f.Close()
	var content strings.Builder // a file of variables has megabytes: they are not copied
	content.Grow(int(min(info.Size(), most)))
	if _, err := io.Copy(&content, io.LimitReader(f, most)); err != nil {
		return reconciler.File{}, err
	}
	damaged := content.Len() == 0 && t.files.Files[path]
	if !damaged && !strings.HasPrefix(content.String(), "# "+t.alias) {
		return reconciler.File{}, errForeign
	}
	return reconciler.File{Path: path, Mode: uint32(info.Mode().Perm()), Content: content.String()}, nil
}

// readFiles reads the files that are recorded as ours or were last asked for.
func (t *Target) readFiles() (objects []reconciler.Object, conflicts []reconciler.Conflict, err error) {
	paths := maps.Clone(t.files.Files)
	for _, o := range t.desired.Objects() {
		if f, ok := o.(reconciler.File); ok {
			paths[f.Path] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(paths))
	t.watched = t.watch != nil && t.watch.follow(parents(sorted))
	if len(sorted) == 0 {
		return nil, nil, nil
	}
	err = t.mounts.do(func() error {
		for _, path := range sorted {
			f, err := t.readFile(path)
			switch {
			case err == nil:
				objects = append(objects, f)
			case !errors.Is(err, os.ErrNotExist):
				conflicts = append(conflicts, fileConflict(path, err))
			}
		}
		return nil
	})
	return objects, conflicts, err
}

func fileConflict(path string, err error) reconciler.Conflict {
	what := fmt.Sprintf("file %s exists and is not poplin's", path)
	if !errors.Is(err, errForeign) {
		what = fmt.Sprintf("file %s cannot be read: %v", path, err)
	}
	return reconciler.Conflict{Key: reconciler.FileKey{Path: path}, What: what, Remedy: fmt.Sprintf("mv %s %s.old", path, path)}
}

// recordFiles records the files that a plan makes, with the directories that
// it takes to make them.
func (t *Target) recordFiles(plan reconciler.Plan) error {
	var files, missing []string
	for _, op := range plan {
		if f, ok := op.After.(reconciler.File); ok {
			files = append(files, f.Path)
		}
	}
	if len(files) == 0 {
		return nil
	}
	err := t.mounts.do(func() error {
		for _, dir := range parents(files) {
			for ; ; dir = filepath.Dir(dir) {
				if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
					break
				}
				missing = append(missing, dir)
			}
		}
		return nil
	})
	return errors.Join(err, t.files.add(files, missing))
}

// doFile writes or removes a file. One that is somebody else's is a conflict
// to write, and left alone otherwise.
func (t *Target) doFile(f reconciler.File, remove bool) error {
	return t.mounts.do(func() error {
		err := t.own(f.Path)
		missing := errors.Is(err, os.ErrNotExist)
		switch {
		case remove && (missing || errors.Is(err, errForeign)):
			return nil
		case err != nil && !missing:
			return &reconciler.ConflictError{Conflict: fileConflict(f.Path, err)}
		case remove:
			return os.Remove(f.Path)
		}
		return writeFile(f)
	})
}

// writeFile replaces a file at once: who reads it sees the old one or the new
// one. A name that begins with a dot is one that nobody looks for.
func writeFile(f reconciler.File) error {
	dir := filepath.Dir(f.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(f.Path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	_, err = temp.WriteString(f.Content)
	err = errors.Join(err, temp.Chmod(fs.FileMode(f.Mode)), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), f.Path)
}

// pruneFiles forgets files that are gone or somebody else's by now and that
// nothing asks for, and removes the directories made for them.
func (t *Target) pruneFiles(desired reconciler.State) error {
	if len(t.files.Files)+len(t.files.Directories) == 0 {
		return nil
	}
	files, directories := map[string]bool{}, map[string]bool{}
	for _, o := range desired.Objects() {
		if f, ok := o.(reconciler.File); ok {
			files[f.Path] = true
		}
	}
	err := t.mounts.do(func() error {
		for path := range t.files.Files {
			if !files[path] {
				files[path] = t.own(path) == nil
			}
		}
		// What is below comes first.
		needed := ancestors(files)
		for _, dir := range slices.Backward(slices.Sorted(maps.Keys(t.files.Directories))) {
			if needed[dir] {
				directories[dir] = true
			} else if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				// Somebody else has something in it: it is theirs now.
				t.log.Debug("directory stays", "path", dir, "error", err)
			}
		}
		return nil
	})
	return errors.Join(err, t.files.keep(files, directories))
}

// ancestors are all directories above the files that are true.
func ancestors(files map[string]bool) map[string]bool {
	out := map[string]bool{}
	for path, ok := range files {
		for dir := filepath.Dir(path); ok && !out[dir]; dir = filepath.Dir(dir) {
			out[dir] = true
		}
	}
	return out
}
