package linux

import (
	"path/filepath"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
)

// sysctlRecord says that a setting is ours, and what it was before us.
type sysctlRecord struct {
	Netns string `json:"netns,omitempty"`
	Link  string `json:"link,omitempty"`
	Name  string `json:"name"`
	Value string `json:"value"` // what we set
	// Before is the value before our first write.
	Before string `json:"before"`
	// Already says that the value was right before us: never put back.
	Already bool `json:"already,omitempty"`
	// Released says that nothing asks for the value any more but that it was
	// left as it is, because others may rely on it by now.
	Released bool `json:"released,omitempty"`
	// Sides are settings that the kernel changes along with this one.
	Sides []sideEffect `json:"sides,omitempty"`
}

// sideEffect is a setting that another one's write changed.
type sideEffect struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
}

func (r sysctlRecord) key() reconciler.SysctlKey {
	return reconciler.SysctlKey{Netns: r.Netns, Name: r.Name}
}

// sysctlRecords is the file of the settings that are ours.
type sysctlRecords struct {
	path    string
	Version int            `json:"version"` // recordsVersion
	Sysctls []sysctlRecord `json:"sysctls"`
}

func readSysctlRecords(dir string) (*sysctlRecords, error) {
	r := &sysctlRecords{path: filepath.Join(dir, "sysctls.json")}
	if err := readJSON(r.path, r); err != nil {
		return nil, err
	}
	r.Version = recordsVersion
	return r, nil
}

// find returns the record of a key, nil if there is none. It is valid until
// the next put or remove.
func (r *sysctlRecords) find(key reconciler.SysctlKey) *sysctlRecord {
	i := slices.IndexFunc(r.Sysctls, func(s sysctlRecord) bool { return s.key() == key })
	if i < 0 {
		return nil
	}
	return &r.Sysctls[i]
}

// put records a setting, and remove forgets the matching ones. Both return
// after the record is on disk.
func (r *sysctlRecords) put(s sysctlRecord) error {
	if old := r.find(s.key()); old != nil {
		*old = s
	} else {
		r.Sysctls = append(r.Sysctls, s)
	}
	return writeJSON(r.path, r)
}

func (r *sysctlRecords) remove(match func(sysctlRecord) bool) error {
	n := len(r.Sysctls)
	r.Sysctls = slices.DeleteFunc(r.Sysctls, match)
	if len(r.Sysctls) == n {
		return nil
	}
	return writeJSON(r.path, r)
}
