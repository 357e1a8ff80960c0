//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// notifyInside is the service manager's socket, as hosts see it.
const notifyInside = labRun + "/notify.sock"

// mostKept bounds what is kept of a daemon (FileDescriptorStoreMax= in the
// unit).
const mostKept = 64

// descriptorStore plays the service manager that keeps descriptors of a
// daemon while it is away (sd_pid_notify_with_fds(3)).
type descriptorStore struct {
	conn *net.UnixConn
	log  *slog.Logger

	mu   sync.Mutex
	kept []keptDescriptor
}

// keptDescriptor is no os.File: that would have the runtime look at every
// packet, and make the daemon's descriptor a blocking one when it is passed on.
type keptDescriptor struct {
	name       string
	descriptor int
}

// openDescriptorStore listens inside a host.
func openDescriptorStore(p *place, log *slog.Logger) (*descriptorStore, error) {
	s := &descriptorStore{log: log}
	err := p.inside(func() (err error) {
		s.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notifyInside, Net: "unixgram"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	return s, nil
}

// run takes messages until the context ends.
func (s *descriptorStore) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	defer s.forget(func(string) bool { return true })
	message := make([]byte, 4096)
	rights := make([]byte, unix.CmsgSpace(4*mostKept))
	for {
		n, rightsLength, _, _, err := s.conn.ReadMsgUnix(message, rights)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("notify socket: %w", err)
		}
		s.take(string(message[:n]), parseDescriptors(rights[:rightsLength]))
	}
}

// parseDescriptors gives the descriptors that came with a message.
func parseDescriptors(rights []byte) []int {
	var out []int
	messages, _ := unix.ParseSocketControlMessage(rights) // the kernel's, so well-formed
	for _, m := range messages {
		list, _ := unix.ParseUnixRights(&m) // none, if it is of another kind
		for _, fd := range list {
			unix.CloseOnExec(fd)
		}
		out = append(out, list...)
	}
	return out
}

// take does what a message says. Descriptors that are not to be kept are
// closed, which is also the answer to BARRIER=1.
func (s *descriptorStore) take(message string, list []int) {
	said := map[string]string{}
	for _, line := range strings.Split(message, "\n") {
		name, value, _ := strings.Cut(line, "=")
		said[name] = value
	}
	name := said["FDNAME"]
	switch {
	case said["FDSTOREREMOVE"] == "1":
		s.forget(func(kept string) bool { return kept == name })
	case said["FDSTORE"] == "1":
		list = s.keep(name, list)
	}
	for _, fd := range list {
		unix.Close(fd)
	}
}

// keep gives back those that there is no room for.
func (s *descriptorStore) keep(name string, list []int) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, fd := range list {
		if len(s.kept) == mostKept {
			s.log.Warn("too many descriptors to keep", "name", name)
			return list[i:]
		}
		s.kept = append(s.kept, keptDescriptor{name, fd})
	}
	return nil
}

// forget closes what is kept under some names.
func (s *descriptorStore) forget(some func(name string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = slices.DeleteFunc(s.kept, func(k keptDescriptor) bool {
		if some(k.name) {
			unix.Close(k.descriptor)
			return true
		}
		return false
	})
}

// pass adds what is kept to a command: descriptors from 3 on, and variables
// that tell of them. The number of the process, which they must name, is only
// known inside, so a shell writes it and becomes the command.
func (s *descriptorStore) pass(c command) command {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.env = append(slices.Clone(c.env), "NOTIFY_SOCKET="+notifyInside)
	if len(s.kept) == 0 {
		return c
	}
	var names []string
	for _, k := range s.kept {
		c.passed = append(c.passed, k.descriptor)
		names = append(names, k.name)
	}
	c.env = append(c.env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	c.args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, c.path}, c.args[1:]...)
	c.path = "/bin/sh"
	return c
}
