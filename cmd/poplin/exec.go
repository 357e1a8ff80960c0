package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/schema"
)

// Exit codes of commands that run another one, as env(1) has them. All others
// are the other command's own.
const (
	exitExec          = 125 // failed before the command was started
	exitNotExecutable = 126
	exitNotFound      = 127
)

// Where pods are, and what takes the place of files in /etc for their
// processes: the convention of ip-netns(8).
const (
	netnsDir    = "/run/netns"
	netnsEtcDir = "/etc/netns"
)

// podName is a name that cannot lead out of a folder.
var podName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

func newExecCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "exec NAMESPACE/NAME -- COMMAND [ARGUMENT...]",
		Short: "Run a command in a pod",
		Long: `Run a command in a pod of this host: in its network namespace, with its
resolv.conf and whatever else is in /etc/netns/NAMESPACE_NAME in place of the
files in /etc, and with /sys of the pod. Files and processes are the host's.

The exit code is the command's; 125 if it could not be started, 126 if it is
not executable, 127 if it was not found.`,
		Example: `  poplin exec default/web-1 -- ip addr
  poplin exec web-1 -- curl -s http://web/`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 && args[1] == "--" {
				args = slices.Delete(args, 1, 2)
			}
			if len(args) < 2 {
				return withCode(exitExec, errors.New("exec: want a pod and a command: poplin exec default/web-1 -- ip addr"))
			}
			return execInPod(args[0], args[1:])
		},
	}
	c.Flags().SetInterspersed(false) // what follows the pod is the command's
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withCode(exitExec, err) })
	return c
}

// execInPod replaces this process by the command. It returns only an error.
func execInPod(pod string, command []string) error {
	name, err := schema.ParseName(pod)
	if err == nil && !podName.MatchString(name.String()) {
		err = fmt.Errorf("%q is not the name of a pod", pod)
	}
	if err != nil {
		return withCode(exitExec, err)
	}
	// The namespaces are the thread's, and execve(2) keeps those of the thread
	// that calls it. On failure the process ends, so the thread needs no way back.
	runtime.LockOSThread()
	netns := reconciler.NamespaceName(name.Namespace, name.Name)
	if err := enterPod(netns); err != nil {
		return withCode(exitExec, fmt.Errorf("pod %s: %w", name, err))
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return withCode(startFailure(err), err)
	}
	err = unix.Exec(path, command, os.Environ())
	return withCode(startFailure(err), fmt.Errorf("%s: %w", path, err))
}

// startFailure gives the exit code for a command that cannot be started.
func startFailure(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	return exitNotExecutable
}

// enterPod moves the thread into the pod's network namespace and into a mount
// namespace of its own, in which files are the pod's.
func enterPod(netns string) error {
	f, err := os.Open(filepath.Join(netnsDir, netns))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("is not on this host: no %s", filepath.Join(netnsDir, netns))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", f.Name(), err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	// Mounts of the host keep arriving; ours do not leave.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// /sys/class/net shows the namespace in which sysfs was mounted. Where that
	// is not allowed the host's stays, as does all of the rest.
	_ = unix.Mount("poplin", "/sys", "sysfs", 0, "")
	return bindEtc(filepath.Join(netnsEtcDir, netns))
}

// bindEtc puts the files of a folder in place of those in /etc. One that /etc
// does not have cannot be bound without touching the host's.
func bindEtc(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(dir, e.Name()), filepath.Join("/etc", e.Name())
		err := unix.Mount(from, to, "", unix.MS_BIND, "")
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "poplin: %s is missing: %s is not used\n", to, from)
			continue
		}
		if err != nil {
			return fmt.Errorf("bind %s to %s: %w", from, to, err)
		}
	}
	return nil
}
