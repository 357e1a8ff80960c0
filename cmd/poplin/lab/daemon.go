//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopPatience is how long a daemon may take to end after SIGTERM.
const stopPatience = 15 * time.Second

// daemon is the one real daemon of a node.
type daemon struct {
	host  Host
	place *place
	table *processes
	env   []string
	log   string // path of the file that it writes to
	store *descriptorStore

	mu      sync.Mutex
	running *process // nil: stopped
	asked   bool     // it ended because it was told to
}

// start runs the daemon if it is not running.
func (d *daemon) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.alive() {
		return nil
	}
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	err = d.place.inside(func() (err error) {
		d.running, err = d.table.start(d.store.pass(command{
			path:  binaryInside,
			args:  append(append([]string{"poplin"}, d.host.Daemon...), "--config", d.host.Tree),
			env:   d.env,
			dir:   "/",
			files: []*os.File{null, log, log},
		}), 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("daemon of %s: %w", d.host.Name, err)
	}
	d.asked = false
	return nil
}

// end sends a signal to the daemon and waits until it has gone. A daemon that
// is not running is no error.
func (d *daemon) end(ctx context.Context, s syscall.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.alive() {
		return nil
	}
	if err := d.running.signal(s); err != nil {
		return fmt.Errorf("daemon of %s: %w", d.host.Name, err)
	}
	d.asked = true
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	select {
	case <-d.running.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("daemon of %s: still running after %s", d.host.Name, unix.SignalName(s))
	}
}

// forget closes what the daemon has had kept, as stopping a unit does and
// restarting it does not.
func (d *daemon) forget() { d.store.forget(func(string) bool { return true }) }

// alive reports whether the daemon runs; the caller holds the lock.
func (d *daemon) alive() bool {
	if d.running == nil {
		return false
	}
	select {
	case <-d.running.done:
		return false
	default:
		return true
	}
}

// state is what HostInfo says about the daemon.
func (d *daemon) state() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.alive():
		return "running"
	case d.running == nil || d.asked:
		return "stopped"
	}
	return fmt.Sprintf("exited %d", d.running.exitCode())
}
