//go:build linux

package bench

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A service of a tree takes about so many bytes, in the daemon at its largest
// and in the kernel, with so many more for each endpoint (Linux 6.18).
const (
	serviceBytes  = 40 << 10
	endpointBytes = 4 << 10
)

// touchMemory touches as much memory as the sizes take, and gives it back: a
// virtual machine gets a page of its host's memory as it is first touched, and
// what the host takes for that would count as kernel time of the daemon (0.72
// instead of 0.38 s for 10,000 services). It takes no more than half of what is
// free.
func touchMemory(sizes []Size) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return fmt.Errorf("sysinfo: %w", err)
	}
	bytes := 0
	for _, s := range sizes {
		bytes += s.Services * (serviceBytes + s.Endpoints*endpointBytes)
	}
	bytes = min(bytes, int(uint64(info.Freeram)*uint64(info.Unit)/2))
	memory, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	for i := 0; i < len(memory); i += unix.Getpagesize() {
		memory[i] = 1
	}
	return unix.Munmap(memory)
}
