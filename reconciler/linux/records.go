package linux

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/poplin-net/poplin/overlay/durable"
)

// recordsVersion is the version of the files in the state directory.
const recordsVersion = 1

// namespaceRecords says which bound namespaces are ours.
type namespaceRecords struct {
	path string
	// Version is recordsVersion.
	Version int `json:"version"`
	// BootID is the kernel's boot_id: inodes mean nothing after a reboot.
	BootID string `json:"bootID"`
	// Namespaces maps names to the inodes of the namespaces. Names of
	// earlier boots are kept with inode 0: a file of that name is a leftover
	// of ours.
	Namespaces map[string]uint64 `json:"namespaces"`
	// Mounted says that in this boot the directory of the namespaces was made
	// a mount by us.
	Mounted bool `json:"mounted,omitempty"`
}

func readNamespaceRecords(dir string) (*namespaceRecords, error) {
	r := &namespaceRecords{path: filepath.Join(dir, "namespaces.json")}
	if err := readJSON(r.path, r); err != nil {
		return nil, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("boot id: %w", err)
	}
	if id := strings.TrimSpace(string(boot)); r.BootID != id {
		r.BootID, r.Mounted = id, false
		for name := range r.Namespaces {
			r.Namespaces[name] = 0
		}
	}
	if r.Namespaces == nil {
		r.Namespaces = map[string]uint64{}
	}
	r.Version = recordsVersion
	return r, nil
}

// put records a namespace as ours, and remove forgets it. Both return after
// the record is on disk.
func (r *namespaceRecords) put(name string, inode uint64) error {
	if old, ok := r.Namespaces[name]; ok && old == inode {
		return nil
	}
	r.Namespaces[name] = inode
	return writeJSON(r.path, r)
}

func (r *namespaceRecords) remove(name string) error {
	if _, ok := r.Namespaces[name]; !ok {
		return nil
	}
	delete(r.Namespaces, name)
	return writeJSON(r.path, r)
}

// mounted records that the directory was made a mount by us.
func (r *namespaceRecords) mounted() error {
	r.Mounted = true
	return writeJSON(r.path, r)
}

// readJSON reads a record file; a missing one leaves v as it is.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var head struct{ Version int }
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if head.Version > recordsVersion {
		return fmt.Errorf("%s: version %d is of a newer release", path, head.Version)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON replaces a record file durably.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = durable.Replace(path, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
