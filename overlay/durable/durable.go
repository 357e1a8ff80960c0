// Package durable replaces files that must not be lost: what a node owns, its
// identity, its keys. Whose they are and what is in them is decided elsewhere.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace writes a file anew, for its owner only (mode 0600). Whoever reads it
// sees the old content or the new one. Once Replace has returned, the new one
// survives a power cut; if it fails, the old one stays, and nothing else is
// left in the directory.
func Replace(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir) // the new name is in the directory's own blocks
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
