package nft

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain puts the tests of an ordinary user into a user namespace of their
// own, where they may make network namespaces.
func TestMain(m *testing.M) {
	const inside = "POPLIN_TEST_INSIDE"
	if os.Geteuid() == 0 || os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		os.Exit(m.Run()) // the tests that need a namespace say so
	}
	os.Exit(0)
}

// netns is a fresh network namespace with loopback up.
type netns struct {
	t  testing.TB
	fd int
}

// newNetns makes a namespace that goes with the test.
func newNetns(t testing.TB) *netns {
	t.Helper()
	type made struct {
		fd  int
		err error
	}
	result := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread dies
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- made{err: err}
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		result <- made{fd, err}
	}()
	m := <-result
	if m.err != nil {
		skip(t, "no network namespace: %v", m.err)
	}
	t.Cleanup(func() { _ = unix.Close(m.fd) })
	n := &netns{t, m.fd}
	n.run("ip link set lo up")
	return n
}

// skip skips a test visibly, or fails it where nothing may be skipped.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("POPLIN_TEST_REQUIRE") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// do calls f on a thread inside the namespace.
func (n *netns) do(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread dies
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// try runs a command line inside the namespace.
func (n *netns) try(line string) (string, error) {
	var out, errs bytes.Buffer
	err := n.do(func() error {
		cmd := exec.Command("sh", "-ec", line)
		cmd.Stdout, cmd.Stderr = &out, &errs
		return cmd.Run()
	})
	if err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// run is try for what must succeed.
func (n *netns) run(line string) string {
	n.t.Helper()
	out, err := n.try(line)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}
