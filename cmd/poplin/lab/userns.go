//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// gates are the settings by which systems refuse user namespaces to ordinary
// users, and the value that refuses.
var gates = []struct{ sysctl, refuses, open string }{
	{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"}, // Ubuntu 23.10 and later
	{"kernel.unprivileged_userns_clone", "0", "1"},             // Debian's and Arch's kernels
	{"user.max_user_namespaces", "0", "10000"},
}

// refused explains an error that says that the kernel does not let this user
// make namespaces; other errors pass through.
func refused(err error) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	for _, g := range gates {
		value, readErr := os.ReadFile("/proc/sys/" + strings.ReplaceAll(g.sysctl, ".", "/"))
		if readErr == nil && strings.TrimSpace(string(value)) == g.refuses {
			return fmt.Errorf("%w: this system refuses user namespaces to ordinary users (%s=%s); run with sudo, or: sudo sysctl %s=%s",
				err, g.sysctl, g.refuses, g.sysctl, g.open)
		}
	}
	return fmt.Errorf("%w: the lab needs root, or a system that lets ordinary users make user namespaces", err)
}
