package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Orphan is a process that lives on in a namespace that was removed.
type Orphan struct {
	Namespace string
	PID       int
}

// Orphans lists the processes that are in pods' namespaces which this target
// removed, in the order of their namespaces and ids. It costs a walk through
// /proc as long as there are any.
func (t *Target) Orphans() []Orphan {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.orphans) == 0 {
		return nil
	}
	var out []Orphan
	alive := map[uint64]string{}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		text, err := os.Readlink(link)
		if err != nil {
			continue
		}
		var inode uint64
		if _, err := fmt.Sscanf(text, "net:[%d]", &inode); err != nil {
			continue
		}
		name, ok := t.orphans[inode]
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if ok && err == nil {
			alive[inode] = name
			out = append(out, Orphan{name, pid})
		}
	}
	// A namespace without processes is gone, and its inode free for others.
	t.orphans = alive
	slices.SortFunc(out, func(a, b Orphan) int {
		if a.Namespace != b.Namespace {
			return strings.Compare(a.Namespace, b.Namespace)
		}
		return a.PID - b.PID
	})
	return out
}
