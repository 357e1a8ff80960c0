package linux

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNamespace runs fn on a thread of its own that is in the network
// namespace bound at path, and returns fn's error. Sockets that fn opens
// stay in that namespace. fn must not start goroutines that rely on the
// namespace. The thread ends with fn.
func InNamespace(path string, fn func() error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer f.Close()
	return inNetwork(f, fn)
}

// Enter is InNamespace for the network namespace of a pod, by its name. It
// may be called by any goroutine, also while the target is at work.
func (t *Target) Enter(name string, fn func() error) error {
	f, err := t.mounts.open(name)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer f.Close()
	return inNetwork(f, fn)
}

// Namespaces returns the pods' namespaces that are there, as of the last
// observation or apply: names with inodes, which tell one from an earlier one
// of the same name.
func (t *Target) Namespaces() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]uint64, len(t.pods))
	for name, p := range t.pods {
		out[name] = p.inode
	}
	return out
}

// inNetwork is InNamespace with an open namespace.
func inNetwork(ns *os.File, fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace: %w", err)
		}
		return fn()
	})
}

// onThread runs fn on a thread that is thrown away afterwards, so that
// nothing that fn changed of the thread outlives it.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the runtime ends a thread whose goroutine ends
		// while locked to it.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot be thrown away, and is what others see
			// of this process. While it is held here fn gets another.
			defer runtime.UnlockOSThread()
			done <- onThread(fn)
			return
		}
		done <- fn()
	}()
	return <-done
}
