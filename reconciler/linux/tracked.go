package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Tracked is how many connections the kernel tracks in this namespace, and how
// many there may be; both are 0 where it tracks none at all.
type Tracked struct{ Count, Max int }

// Full reports whether there is no room, or next to none: a table that clients
// fill is never full at each moment.
func (t Tracked) Full() bool { return t.Max > 0 && t.Count >= t.Max-t.Max/20 }

// ReadTracked asks the kernel, for the namespace of this process.
func ReadTracked() (t Tracked, err error) {
	for name, to := range map[string]*int{"nf_conntrack_count": &t.Count, "nf_conntrack_max": &t.Max} {
		text, err := os.ReadFile(filepath.Join(procSys, "net/netfilter", name))
		if errors.Is(err, fs.ErrNotExist) {
			return Tracked{}, nil
		}
		if err == nil {
			*to, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		if err != nil {
			return Tracked{}, fmt.Errorf("tracked connections: %w", err)
		}
	}
	return t, nil
}
