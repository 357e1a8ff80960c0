//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// processes is the table of a process that is number 1 of its process
// namespace: it must wait for every child, also for those that it did not
// start, so the waiting of os/exec cannot be used beside it.
type processes struct {
	mu      sync.Mutex
	waiting map[int]*process
}

// process is a child that was started through the table. It leads a session
// and a process group of its own.
type process struct {
	pid    int
	done   chan struct{} // closed when the process has ended
	status unix.WaitStatus
	table  *processes
}

// command says what to start and with what.
type command struct {
	path  string // as the starting thread's mount namespace has it
	args  []string
	env   []string
	dir   string
	files []*os.File // descriptors 0, 1, 2, …
	// passed are descriptors that follow the files.
	passed []int
}

func newProcesses() *processes { return &processes{waiting: map[int]*process{}} }

// start runs a command as a child of the calling thread, in that thread's
// namespaces. clone is given to clone(2) in addition. The caller keeps the
// files.
func (p *processes) start(c command, clone uintptr) (*process, error) {
	fds := make([]uintptr, len(c.files))
	for i, f := range c.files {
		fds[i] = f.Fd()
	}
	for _, fd := range c.passed {
		fds = append(fds, uintptr(fd))
	}
	// The lock is held until the child is in the table: reap waits for it
	// before it looks the number up.
	p.mu.Lock()
	defer p.mu.Unlock()
	pid, err := syscall.ForkExec(c.path, c.args, &syscall.ProcAttr{
		Dir:   c.dir,
		Env:   c.env,
		Files: fds,
		Sys:   &syscall.SysProcAttr{Setsid: true, Cloneflags: clone},
	})
	if err != nil {
		return nil, &os.PathError{Op: "exec", Path: c.path, Err: err}
	}
	child := &process{pid: pid, done: make(chan struct{}), table: p}
	p.waiting[pid] = child
	return child, nil
}

// reap waits for children until the context ends.
func (p *processes) reap(ctx context.Context) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		p.collect()
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
		}
	}
}

// collect takes in all children that have ended.
func (p *processes) collect() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		p.mu.Lock()
		if child := p.waiting[pid]; child != nil {
			delete(p.waiting, pid)
			child.status = status
			close(child.done)
		}
		p.mu.Unlock()
	}
}

// signal sends a signal to the process and all others of its group. A
// process that has ended is no error.
func (c *process) signal(s syscall.Signal) error {
	// Under the lock the number cannot have been given out again: it is
	// free only after collect has waited for it and taken it from the table.
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if c.table.waiting[c.pid] != c {
		return nil
	}
	if err := unix.Kill(-c.pid, s); err != nil && err != unix.ESRCH {
		return fmt.Errorf("process %d: %w", c.pid, err)
	}
	return nil
}

// exitCode is that of a shell: 128 and the signal's number for a process that
// a signal ended. It may be called after done is closed.
func (c *process) exitCode() int {
	if c.status.Signaled() {
		return 128 + int(c.status.Signal())
	}
	return c.status.ExitStatus()
}
