package udp_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inFreshNamespace makes the rest of a test run where it may do as it likes:
// unprivileged, the test binary runs itself again as root of a user namespace
// of its own. It returns false in the process that has only waited for that.
func inFreshNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "POPLIN_TEST_INSIDE"
	if os.Geteuid() == 0 || os.Getenv(mark) != "" {
		requireTUN(t)
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("in a user namespace: %v\n%s", err, out)
	case err != nil:
		unavailable(t, fmt.Sprintf("no user namespace: %v", err))
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in a user namespace:\n%s", out)
	}
	return false
}

func requireTUN(t *testing.T) {
	t.Helper()
	file, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		unavailable(t, err.Error())
	}
	file.Close()
}

// unavailable skips, or fails where a skip is not wanted.
func unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("POPLIN_TEST_REQUIRE") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// host is a network namespace that lives as long as the test.
type host struct {
	t    *testing.T
	path string // of the namespace, for iproute2's "netns"
	work chan func()
}

// newHost makes a namespace on a thread of its own, which dies with it.
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread must not be used again
		err := unix.Unshare(unix.CLONE_NEWNET)
		h.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- err
		for f := range h.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		unavailable(t, fmt.Sprintf("unshare: %v", err))
	}
	t.Cleanup(func() { close(h.work) })
	return h
}

// do runs f in the namespace: sockets and files opened there belong to it,
// processes started there live in it.
func (h *host) do(f func()) {
	done := make(chan struct{})
	h.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// run runs a command line in the namespace, and returns what it printed.
func (h *host) run(line string) (string, error) {
	var out []byte
	var err error
	h.do(func() {
		words := strings.Fields(line)
		out, err = exec.Command(words[0], words[1:]...).CombinedOutput()
	})
	return string(out), err
}

// must runs command lines that have to succeed.
func (h *host) must(lines ...string) {
	h.t.Helper()
	for _, line := range lines {
		if out, err := h.run(line); err != nil {
			h.t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}
