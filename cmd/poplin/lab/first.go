//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

const firstReady = "ready"

// RunFirst is process 1 of a host: it mounts the /proc of the host's process
// namespace, says so on descriptor 3, and from then on only waits for
// processes that lost their parent.
//
// It ends with the lab and at no signal: processes of the host may send it any.
func RunFirst() error {
	signal.Ignore(unix.SIGHUP, unix.SIGQUIT, unix.SIGINT, unix.SIGTERM)
	tell := os.NewFile(3, "ready")
	if err := mountProc(); err != nil {
		fmt.Fprint(tell, err)
		return err
	}
	fmt.Fprint(tell, firstReady)
	tell.Close()
	return newProcesses().reap(context.Background())
}

// mountProc shows the calling process's process namespace at /proc.
func mountProc() error {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}
