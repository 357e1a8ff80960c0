package source

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is the kernel's limit on symbolic links in one path (path_lookup
// in fs/namei.c).
const maxLinks = 40

// lookup is one name that was looked up on the way to a path. Where the name
// may come to mean something else, its folder has to be watched: watching
// through a symbolic link gives no event when the link is swapped.
type lookup struct {
	dir   string // real path
	dirID id
	name  string
	link  string // target, if the name is a symbolic link
	stamp stamp  // zero: there is no such name
}

// resolver walks a path name by name.
type resolver struct {
	dir     string // real path
	dirID   id
	pending []string
	lookups []lookup
	links   int
}

// resolve follows every symbolic link on the path, from the folder start,
// which is a real path. It returns the real path and each name that it looked
// up, also those up to the error.
func resolve(start, path string) (string, []lookup, error) {
	r := &resolver{pending: strings.Split(path, "/")}
	if filepath.IsAbs(path) {
		start = "/"
	}
	if err := r.enter(start); err != nil {
		return "", nil, err
	}
	for len(r.pending) > 0 {
		name := r.pending[0]
		r.pending = r.pending[1:]
		if err := r.step(name); err != nil {
			return "", r.lookups, err
		}
	}
	return r.dir, r.lookups, nil
}

// enter continues at a real path.
func (r *resolver) enter(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	r.dir, r.dirID = dir, stampOf(info).id
	return nil
}

// step looks up one name in the folder that was reached.
func (r *resolver) step(name string) error {
	switch name {
	case "", ".":
		return nil
	case "..":
		return r.enter(filepath.Dir(r.dir))
	}
	l := lookup{dir: r.dir, dirID: r.dirID, name: name}
	path := filepath.Join(r.dir, name)
	info, err := os.Lstat(path)
	if err != nil {
		r.lookups = append(r.lookups, l)
		return err
	}
	l.stamp = stampOf(info)
	if info.Mode()&os.ModeSymlink == 0 {
		r.lookups = append(r.lookups, l)
		r.dir, r.dirID = path, l.stamp.id
		return nil
	}
	l.link, err = os.Readlink(path)
	r.lookups = append(r.lookups, l)
	if err != nil {
		return err
	}
	if r.links++; r.links > maxLinks {
		return &os.PathError{Op: "resolve", Path: path, Err: syscall.ELOOP}
	}
	r.pending = append(strings.Split(l.link, "/"), r.pending...)
	if filepath.IsAbs(l.link) {
		return r.enter("/")
	}
	return nil
}

// below gives the path of a real path below a root, "." for the root itself.
func below(root, path string) (string, bool) {
	if path == root {
		return ".", true
	}
	if root == "/" {
		return strings.TrimPrefix(path, "/"), true
	}
	return strings.CutPrefix(path, root+"/")
}
