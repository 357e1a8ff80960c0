//go:build linux

package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin keeps the process on one of its processors: the first or the last. How
// many connections there are in a second depends by a half on whether client
// and server share a processor, and the scheduler's choice differs from one
// run to the next.
func pin(last bool) error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("processors: %w", err)
	}
	cpu := -1
	for i := range 64 * len(allowed) {
		if allowed.IsSet(i) && (cpu < 0 || last) {
			cpu = i
		}
	}
	one.Set(cpu)
	threads, err := os.ReadDir("/proc/self/task") // those that come later inherit it
	if err != nil {
		return fmt.Errorf("threads: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(id, &one); err != nil {
			return fmt.Errorf("processor %d: %w", cpu, err)
		}
	}
	runtime.GOMAXPROCS(1)
	return nil
}
