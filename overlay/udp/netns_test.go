package udp_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler/hosttest"
)

// inFreshNamespace makes the rest of a test run where it may do as it likes.
func inFreshNamespace(t *testing.T) bool {
	t.Helper()
	hosttest.NeedTUN(t)
	return hosttest.Root(t)
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
		hosttest.Skip(t, fmt.Errorf("unshare: %w", err))
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
