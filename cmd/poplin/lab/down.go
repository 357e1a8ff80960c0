//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience is how long the kernel may take to end all processes of a lab.
const killPatience = 20 * time.Second

// Down removes a lab: its processes, its namespaces and its directory. It
// needs no answer from the keeper, so it works after a crash too. Removing
// what is not there is success; removed says whether there was anything.
func Down(name string) (removed bool, err error) {
	d, err := OpenDirectory(name)
	if err != nil {
		return false, err
	}
	unlock, err := d.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	return d.remove()
}

// remove does the work of Down; the caller holds the lock.
func (d Directory) remove() (bool, error) {
	if _, err := os.Lstat(d.Path()); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	s, err := d.readState()
	switch {
	case errors.Is(err, ErrNotRunning):
	case err != nil:
		return false, err
	default:
		if err := s.Keeper.kill(); err != nil {
			return false, fmt.Errorf("lab %s: %w", d.name, err)
		}
	}
	return true, os.RemoveAll(d.Path())
}

// kill ends exactly this process and waits until it is gone. The process is
// held by a descriptor before its start time is compared, so that a number
// that is given out again in between hits nobody.
func (id identity) kill() error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keeper, process %d: %w", id.PID, err)
	}
	defer unix.Close(fd)
	found, err := identify(id.PID)
	if errors.Is(err, fs.ErrNotExist) || err == nil && found != id {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("keeper, process %d: %w", id.PID, err)
	}
	return waitGone(fd)
}

// waitGone waits until the process of a pidfd has ended. Process 1 of a
// process namespace ends last of all in it.
func waitGone(fd int) error {
	deadline := time.Now().Add(killPatience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("keeper still there %s after SIGKILL", killPatience)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}
