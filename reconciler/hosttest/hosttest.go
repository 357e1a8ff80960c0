// Package hosttest gives tests a host of their own: the test binary runs one
// test again in namespaces that nobody else has, as root or as root of a user
// namespace. They skip where that is not allowed, and say so; with
// POPLIN_TEST_REQUIRE=1 they fail.
package hosttest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside names the test that a re-executed test binary is to run.
const inside = "POPLIN_TEST_INSIDE"

// Fresh reports whether the test runs on a fresh host: a process with a network
// and a mount namespace of its own, loopback, and an empty /run. If not, it
// runs the test there, in parallel with others, and takes over its result.
func Fresh(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != t.Name() {
		t.Parallel()
		again(t, unix.CLONE_NEWNET|unix.CLONE_NEWNS)
		return false
	}
	for _, err := range []error{
		unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"),
		exec.Command("ip", "link", "set", "lo", "up").Run(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return true
}

// FreshNetwork reports whether the test runs in a network namespace of its
// own, in which nothing is up. If not, it runs the test there and takes over
// its result.
func FreshNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		return true
	}
	again(t, unix.CLONE_NEWNET)
	return false
}

// Root reports whether the test may make namespaces. If not, it runs the test
// as root of a user namespace and takes over its result.
func Root(t *testing.T) bool {
	t.Helper()
	if os.Getuid() == 0 {
		return true
	}
	again(t, 0)
	return false
}

// again runs the test in new namespaces and takes over its result.
func again(t *testing.T, flags uintptr) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = Namespaces(flags)
	out, err := cmd.CombinedOutput()
	if len(out) == 0 && err != nil {
		Skip(t, fmt.Errorf("no namespaces: %w", err))
	}
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "--- SKIP: "+t.Name()+" ") {
		t.SkipNow()
	}
}

// Namespaces starts a process in new namespaces, which ends with the thread
// that starts it; for an ordinary user in a user namespace, too.
func Namespaces(flags uintptr) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: unix.SIGKILL}
	if os.Getuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// NeedTUN skips the test where no TUN device can be made.
func NeedTUN(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		Skip(t, err)
	}
	f.Close()
}

// Skip says what of the kernel cannot be had, which is a failure where it must.
func Skip(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("POPLIN_TEST_REQUIRE") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}
