//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// place is the set of namespaces of one host, held by descriptors.
type place struct {
	net, mounts, uts, pids *os.File
	// first is the number of the host's first process, in the keeper's eyes.
	first int
	// root is the host's root directory. What is looked up from it is found
	// in the host's mount namespace, from any thread.
	root *os.File
}

// inside runs f on a thread of its own that is in the namespaces of the host;
// children that f starts are in them too. The thread ends with f, whatever f
// did to it.
func (p *place) inside(f func() error) error {
	return onOwnThread(func() error {
		// A thread that shares its root and working directory with others
		// may not change its mount namespace (setns(2)).
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare directories: %w", err)
		}
		for _, ns := range []struct {
			file *os.File
			kind int
		}{{p.mounts, unix.CLONE_NEWNS}, {p.net, unix.CLONE_NEWNET}, {p.uts, unix.CLONE_NEWUTS}, {p.pids, unix.CLONE_NEWPID}} {
			if err := unix.Setns(int(ns.file.Fd()), ns.kind); err != nil {
				return fmt.Errorf("enter %s: %w", ns.file.Name(), err)
			}
		}
		return f()
	})
}

// onOwnThread runs f on a thread that nothing else ever runs on: the
// goroutine never unlocks it, so it ends with the goroutine. Children must not
// ask for a signal at the death of their parent, which is this thread.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// namespace opens a namespace of the calling thread.
func namespace(kind string) (*os.File, error) {
	return os.Open("/proc/thread-self/ns/" + kind)
}

// makePlace makes the namespaces of a host and the mounts in them, and starts
// the first process of its process namespace.
func makePlace(host Host, setup mounts, table *processes) (*place, error) {
	p := &place{}
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		if err := unix.Sethostname([]byte(host.Name)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
		var err error
		// These are opened first: afterwards /proc is another one.
		if p.net, err = namespace("net"); err != nil {
			return err
		}
		if p.mounts, err = namespace("mnt"); err != nil {
			return err
		}
		if p.uts, err = namespace("uts"); err != nil {
			return err
		}
		if err := setup.make(); err != nil {
			return err
		}
		if p.root, err = os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
			return err
		}
		return p.startFirst(table)
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", host.Name, err)
	}
	return p, nil
}

// startFirst starts the first process of the host and waits until it has
// mounted /proc. It runs on the thread that is in the host's namespaces; the
// keeper's own /proc is reached through its main mount namespace later.
func (p *place) startFirst(table *processes) error {
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		tell.Close()
		return err
	}
	defer null.Close()
	first, err := table.start(command{
		path:  binaryInside,
		args:  []string{"poplin", "lab", "first"},
		env:   []string{"PATH=" + os.Getenv("PATH")},
		dir:   "/",
		files: []*os.File{null, os.Stderr, os.Stderr, tell},
	}, unix.CLONE_NEWPID)
	tell.Close()
	if err != nil {
		return err
	}
	said, err := io.ReadAll(ready)
	if err != nil {
		return err
	}
	if string(said) != firstReady {
		return fmt.Errorf("first process: %s", strings.TrimSpace(string(said)))
	}
	fd, err := unix.PidfdOpen(first.pid, 0)
	if err != nil {
		return fmt.Errorf("first process: %w", err)
	}
	// A pidfd names the namespaces of its process (setns(2), Linux 5.8): no
	// /proc is needed, and the one here is the host's by now.
	p.first = first.pid
	p.pids = os.NewFile(uintptr(fd), "process namespace")
	return nil
}

// lookup finds an executable as execvp(3) would, in the calling thread's
// mount namespace. The error is os.ErrNotExist or os.ErrPermission.
func lookup(name, path, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !strings.HasPrefix(name, "/") {
			name = dir + "/" + name
		}
		return name, executable(name)
	}
	var denied error
	for _, folder := range strings.Split(path, ":") {
		if folder == "" || !strings.HasPrefix(folder, "/") {
			folder = dir + "/" + folder
		}
		file := folder + "/" + name
		if _, err := os.Stat(file); err != nil {
			continue // a folder that is closed to this user is no folder
		}
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, os.ErrPermission) {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &os.PathError{Op: "exec", Path: name, Err: os.ErrNotExist}
}

func executable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return &os.PathError{Op: "exec", Path: file, Err: os.ErrPermission}
	}
	return nil
}
