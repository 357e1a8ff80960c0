package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/poplin-net/poplin/overlay/durable"
	"github.com/poplin-net/poplin/schema"
)

// addressBook keeps the addresses of this node's pods in the state
// directory, so that they are the same after a restart.
type addressBook struct {
	path string
	pods map[schema.Name][]netip.Addr
}

// addressFile is the file's form. Fields are only ever added.
type addressFile struct {
	Version int                          `json:"version"`
	Pods    map[schema.Name][]netip.Addr `json:"pods"`
}

// openAddressBook reads the book. One that cannot be read is an error: making
// a new one would renumber pods.
func openAddressBook(stateDir string) (*addressBook, error) {
	b := &addressBook{path: filepath.Join(stateDir, "pods.json"), pods: map[schema.Name][]netip.Addr{}}
	text, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	var f addressFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", b.path, err)
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("%s: version %d is not known", b.path, f.Version)
	}
	if f.Pods != nil {
		b.pods = f.Pods
	}
	return b, nil
}

// write replaces the book, durably, before any of its addresses is used.
func (b *addressBook) write(pods map[schema.Name][]netip.Addr) error {
	text, err := json.MarshalIndent(addressFile{1, pods}, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Replace(b.path, append(text, '\n')); err != nil {
		return fmt.Errorf("pods' addresses: %w", err)
	}
	b.pods = pods
	return nil
}
