package source

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/poplin-net/poplin/schema"
)

// ErrCorrupt: the kept copy is there and cannot be used.
var ErrCorrupt = errors.New("kept copy unusable")

// storeVersion is the version of the copy's format: a tar file whose first
// entry is manifest.json and whose others are the tree's files under tree/.
const storeVersion = 1

const (
	manifestName = "manifest.json"
	manifestSize = 64 << 10 // bytes, at most
	treePrefix   = "tree/"
	copyBuffer   = 256 << 10 // bytes, between writes
)

// Store keeps the last accepted version in the daemon's state directory, so
// that a restart with a bad or missing directory goes on with it. It is
// revision/tree.tar, which an operator can list and unpack.
type Store struct {
	Dir string // the state directory; it is made if missing
}

// manifest describes the copy. Fields are only ever added.
type manifest struct {
	Version  int       `json:"version"`
	Revision string    `json:"revision"`
	Branch   string    `json:"branch,omitempty"`
	Digest   string    `json:"digest"`
	Root     string    `json:"root"`
	Resolved string    `json:"resolved"`
	Saved    time.Time `json:"saved"`
	Files    int       `json:"files"`
}

func (s Store) path() string { return filepath.Join(s.Dir, "revision", "tree.tar") }

// Save replaces the copy: a crash leaves the old one or the new one. It
// writes nothing if the copy is whole and of this version already.
func (s Store) Save(t Tree) error {
	if kept, ok, err := s.Load(); err == nil && ok && kept.SameVersion(t) {
		return nil
	}
	return s.Replace(t)
}

// Replace replaces the copy without a look at it, which takes as long as to
// write it.
func (s Store) Replace(t Tree) error {
	if err := s.save(t); err != nil {
		return fmt.Errorf("keep revision %s in %s: %w", t.Revision, s.path(), err)
	}
	return nil
}

// save writes a file beside the copy and renames it.
func (s Store) save(t Tree) (err error) {
	dir := filepath.Dir(s.path())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp := s.path() + ".new" // one daemon writes here, so one name is enough and nothing piles up
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(temp)
		}
	}()
	buffered := bufio.NewWriterSize(f, copyBuffer) // a tree has tens of thousands of small files
	if err := writeCopy(buffered, t); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, s.path()); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writeCopy writes the tar file.
func writeCopy(to io.Writer, t Tree) error {
	now := time.Now().UTC().Truncate(time.Second)
	head, err := json.MarshalIndent(manifest{
		Version: storeVersion, Revision: t.Revision, Branch: t.Branch, Digest: t.Digest,
		Root: t.Root, Resolved: t.Resolved, Saved: now, Files: len(t.Files),
	}, "", "  ")
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	files := append([]schema.File{{Path: manifestName, Content: head}}, t.Files...)
	for i, f := range files {
		name := treePrefix + f.Path
		if i == 0 {
			name = f.Path
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(f.Content)), Mode: 0o600, ModTime: now}); err != nil {
			return err
		}
		if _, err := w.Write(f.Content); err != nil {
			return err
		}
	}
	return w.Close()
}

// Load reads the copy; ok is false if there is none. A copy that was cut
// short, changed, or written by a newer release is ErrCorrupt and is left
// where it is until the next Save.
func (s Store) Load() (t Tree, ok bool, err error) {
	f, err := os.Open(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return Tree{}, false, nil
	}
	if err != nil {
		return Tree{}, false, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer f.Close()
	if t, err = readCopy(f); err != nil {
		return Tree{}, false, fmt.Errorf("%w: %s: %w", ErrCorrupt, s.path(), err)
	}
	return t, true, nil
}

func readManifest(r *tar.Reader) (manifest, error) {
	h, err := r.Next()
	if err != nil {
		return manifest{}, err
	}
	if h.Name != manifestName || h.Size > manifestSize {
		return manifest{}, fmt.Errorf("starts with %q, not with a %s", h.Name, manifestName)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return manifest{}, err
	}
	var m manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return manifest{}, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Version != storeVersion {
		return manifest{}, fmt.Errorf("format version %d, this release reads %d", m.Version, storeVersion)
	}
	return m, nil
}

// readCopy reads the tar file and checks it against its manifest.
func readCopy(from io.Reader) (Tree, error) {
	r := tar.NewReader(from)
	m, err := readManifest(r)
	if err != nil {
		return Tree{}, err
	}
	t := Tree{Root: m.Root, Resolved: m.Resolved, Revision: m.Revision, Branch: m.Branch, Digest: m.Digest}
	sum, bytes := newDigest(), int64(0)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Tree{}, err
		}
		if bytes += h.Size; h.Size > MaxFile || bytes > MaxTree {
			return Tree{}, fmt.Errorf("%s: too large", h.Name)
		}
		name, ok := below("tree", h.Name)
		if !ok || !fs.ValidPath(name) {
			return Tree{}, fmt.Errorf("unexpected name %q", h.Name)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return Tree{}, fmt.Errorf("%s: %w", name, err)
		}
		sum.add(name, sha256.Sum256(content))
		t.Files = append(t.Files, schema.File{Path: name, Content: content})
	}
	if got := sum.String(); got != m.Digest || len(t.Files) != m.Files {
		return Tree{}, fmt.Errorf("content is %s, the manifest says %s", got, m.Digest)
	}
	return t, nil
}
