//go:build linux

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Usage is what a node's daemon has used so far, and what the kernel has.
type Usage struct {
	User   float64 `json:"user"`   // seconds of the daemon in user space
	Kernel float64 `json:"kernel"` // seconds of the daemon in the kernel, commits among them
	RSS    float64 `json:"rss"`    // MiB of the daemon
	// KernelMemory is the kernel's unreclaimable slab and vmalloc of the whole
	// machine in MiB: only differences mean something.
	KernelMemory float64 `json:"kernelMemory"`
}

// clockTicks is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on
// all that Go runs on (proc(5)).
const clockTicks = 100

// ReadUsage reads /proc as it is in a lab's node, where there is one daemon.
func ReadUsage() (Usage, error) {
	var u Usage
	pid, err := daemonProcess()
	if err != nil {
		return u, err
	}
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return u, err
	}
	// The name may hold spaces; it ends with the last parenthesis.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%s/stat is too short", pid)
	}
	user, err1 := strconv.ParseFloat(fields[11], 64)
	kernel, err2 := strconv.ParseFloat(fields[12], 64)
	u.User, u.Kernel = user/clockTicks, kernel/clockTicks
	rss, err3 := sizes(filepath.Join("/proc", pid, "status"), "VmRSS")
	memory, err4 := sizes("/proc/meminfo", "SUnreclaim", "VmallocUsed")
	u.RSS, u.KernelMemory = rss, memory
	return u, errors.Join(err1, err2, err3, err4)
}

// daemonProcess finds the process that runs `poplin run`.
func daemonProcess() (string, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return "", err
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(line, []byte("poplin\x00run\x00")) {
			return filepath.Base(filepath.Dir(path)), nil
		}
	}
	return "", errors.New("no daemon runs here")
}

// sizes adds up fields of a file whose lines are NAME: NUMBER kB, in MiB.
func sizes(path string, names ...string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, name := range names {
		_, rest, found := strings.Cut("\n"+string(text), "\n"+name+":")
		words := strings.Fields(rest)
		if !found || len(words) == 0 {
			return 0, fmt.Errorf("%s has no %s", path, name)
		}
		n, err := strconv.ParseFloat(words[0], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		sum += n / 1024
	}
	return sum, nil
}
