// Package source reads the synced directory: a tree of documents that
// something else (git, rsync, git-sync, an editor) writes while it is read.
//
// Only whole versions are handed out. A tree counts as whole when nothing in
// it differs before and after it was read (inodes, sizes, ctimes, what every
// symbolic link leads to), no tool's busy marker lies in it, and it has been
// quiet for a while. Events only say when to look: what changed is always
// found by looking. ctime decides, not mtime, because rsync, cp -p and touch
// set the mtime.
//
// The swap of a symbolic link on the root's path is atomic and needs no quiet
// time: what it leads to was complete before.
package source

import (
	"errors"

	"github.com/poplin-net/poplin/schema"
)

// What can be wrong with the directory as a whole. Errors of this package
// wrap one of them and name the path.
var (
	// ErrMissing: the root, or what a symbolic link on its path leads to,
	// does not exist.
	ErrMissing = errors.New("source missing")
	// ErrEmpty: the root exists and has no *.yaml, *.yml or *.json file.
	ErrEmpty = errors.New("source empty")
	// ErrUnstable: the tree changed whenever it was read.
	ErrUnstable = errors.New("source unstable")
	// ErrRefused: something in the tree is never read: a symbolic link out of
	// the root, a FIFO, a device, a file or a tree too large; or something
	// cannot be read.
	ErrRefused = errors.New("source refused")
)

// Sizes above which a tree is refused.
const (
	MaxFile    = 1 << 20  // bytes of one file
	MaxTree    = 64 << 20 // bytes of all files
	maxEntries = 200_000  // files, folders and links
)

// Tree is one whole version of the directory. It is never changed after it
// was handed out; the contents of files that did not change are shared with
// the version before.
type Tree struct {
	Root     string // as configured
	Resolved string // after symbolic links
	Files    []schema.File
	// Revision names the version for people: a commit hash, the first line of
	// a .revision file, or the digest.
	Revision string
	// Branch is what .git/HEAD points to; "" if it is detached or there is no
	// repository.
	Branch string
	// Digest is "sha256:" and hexadecimal digits over the paths and contents
	// of all files. It alone decides whether anything changed.
	Digest string
}

// Label is the revision in a form short enough for a line of output:
// main@4f2c9e1, 4f2c9e1, v1.2.3 or sha256:0123456789ab.
func (t Tree) Label() string {
	short := shortRevision(t.Revision)
	if t.Branch == "" {
		return short
	}
	return t.Branch + "@" + short
}

// SameVersion reports whether two trees are the same version from the same
// place: with equal content, and under one name.
func (t Tree) SameVersion(o Tree) bool {
	return t.Digest == o.Digest && t.Revision == o.Revision && t.Branch == o.Branch && t.Root == o.Root && t.Resolved == o.Resolved
}

// readAttempts is how often Read begins anew when the tree changes under it.
const readAttempts = 5

// Read reads the directory once, consistently and without waiting: the same
// before and after, but neither quiet nor free of busy markers. Checks of a
// private checkout need neither, and a git hook runs while git holds its lock.
func Read(root string) (Tree, error) {
	r := newReader()
	var err error
	for range readAttempts {
		var tree Tree
		if tree, _, err = r.snapshot(root); !errors.Is(err, ErrUnstable) {
			return tree, err
		}
	}
	return Tree{}, err
}
