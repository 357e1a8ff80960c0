package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// maxOutput is how much of what a command writes is kept (bytes).
	maxOutput = 1 << 10
	// killDelay is how long after its end a command's descendants may hold
	// its output open.
	killDelay = 500 * time.Millisecond
)

// run runs a command in a pod's namespace. The child gets the namespace of
// the thread that starts it; files and processes are the host's.
func (h *host) run(ctx context.Context, pod Pod, command []string) error {
	if len(command) == 0 {
		return errors.New("no command")
	}
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	var out output
	c.Stdout, c.Stderr = &out, &out
	c.Env = environment(os.Environ())
	c.Dir = "/"
	// What it starts goes with it.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = killDelay
	if err := h.in(pod, c.Start); err != nil {
		return err
	}
	err := c.Wait()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) && c.ProcessState.Success() {
		return nil
	}
	if text := clip(out.String(), 200); text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// environment is that of a command: none of what the service manager gives
// the daemon.
func environment(own []string) []string {
	return slices.DeleteFunc(own, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "PATH", "HOME", "LANG", "TZ":
			return false
		}
		return true
	})
}

// output keeps the beginning of what is written to it.
type output struct{ bytes.Buffer }

func (o *output) Write(b []byte) (int, error) {
	_, _ = o.Buffer.Write(b[:min(len(b), maxOutput-o.Len())]) // never fails
	return len(b), nil
}
