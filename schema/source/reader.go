package source

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/poplin-net/poplin/schema"
)

// reader reads the files of a look. It remembers contents by stamp, so that
// one changed file among many costs one read.
type reader struct {
	cache map[string]cached
	reads int // files opened so far
}

// cached is a file as it was read.
type cached struct {
	path    string // the same one each time: to compare it with itself takes no look at it
	stamp   stamp
	content []byte
	sum     [sha256.Size]byte
	// racy: the file could have changed since without its stamp showing it.
	racy bool
}

func newReader() *reader { return &reader{cache: make(map[string]cached)} }

// snapshot looks, reads and looks again.
func (r *reader) snapshot(root string) (Tree, *look, error) {
	before := lookAt(root, nil)
	if before.err != nil {
		return Tree{}, before, before.err
	}
	tree, err := r.read(root, before)
	return tree, before, err
}

// read reads the files of a look and makes sure that it still holds
// afterwards; else the error is ErrUnstable.
func (r *reader) read(root string, l *look) (Tree, error) {
	dir, s, err := l.openRoot()
	if err != nil {
		return Tree{}, walkError(".", err)
	}
	defer dir.Close()
	if s.id != l.rootID {
		return Tree{}, fmt.Errorf("%w: %s was replaced while it was read", ErrUnstable, root)
	}
	next := make(map[string]cached, len(l.files))
	tree := Tree{Root: root, Resolved: l.resolved, Files: make([]schema.File, 0, len(l.files))}
	for _, d := range l.files {
		c, ok := r.cache[d.path]
		if !ok || c.racy || c.stamp != d.stamp {
			if c, err = r.file(dir, d); err != nil {
				return Tree{}, err
			}
		}
		next[d.path] = c
		tree.Files = append(tree.Files, schema.File{Path: c.path, Content: c.content})
	}
	r.cache = next
	if after := lookAt(root, l); !after.same(l) {
		return Tree{}, fmt.Errorf("%w: %s changed while it was read", ErrUnstable, root)
	}
	tree.Digest = r.digest(l.files)
	if tree.Revision = l.named; tree.Revision == "" {
		tree.Revision = tree.Digest
	}
	if l.named == l.git.hash {
		tree.Branch = l.git.branch
	}
	return tree, nil
}

// file reads one document. A symbolic link or a FIFO that took its place
// since the look neither leads out of the root nor blocks.
func (r *reader) file(dir *os.Root, d document) (cached, error) {
	r.reads++
	f, err := dir.OpenFile(d.real, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return cached{}, walkError(d.path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return cached{}, walkError(d.path, err)
	}
	if stampOf(info) != d.stamp {
		return cached{}, fmt.Errorf("%w: %s changed while it was read", ErrUnstable, d.path)
	}
	at := time.Now()
	content := make([]byte, d.stamp.size)
	if _, err := io.ReadFull(f, content); err == io.EOF || err == io.ErrUnexpectedEOF {
		return cached{}, fmt.Errorf("%w: %s was shortened while it was read", ErrUnstable, d.path)
	} else if err != nil {
		return cached{}, walkError(d.path, err)
	}
	return cached{d.path, d.stamp, content, sha256.Sum256(content), d.stamp.racy(at)}, nil
}

// racy reports whether a file of the last read could have changed since
// without any stamp showing it.
func (r *reader) racy() bool {
	for _, c := range r.cache {
		if c.racy {
			return true
		}
	}
	return false
}

// digest hashes paths and contents of the files that were read last.
func (r *reader) digest(files []document) string {
	h := newDigest()
	for _, d := range files {
		h.add(d.path, r.cache[d.path].sum)
	}
	return h.String()
}

// digest is the running hash of a tree: for each file in the order of their
// names, the length of its path (8 bytes, big endian), the path, the SHA-256
// of its content.
type digest struct{ h hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(path string, content [sha256.Size]byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(path)))
	_, _ = d.h.Write(size[:])
	_, _ = io.WriteString(d.h, path)
	_, _ = d.h.Write(content[:])
}

// String gives the digest as documents and status show it.
func (d digest) String() string {
	return "sha256:" + hex.EncodeToString(d.h.Sum(nil))
}
