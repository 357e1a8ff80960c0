package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/overlay/udp"
)

// firstDescriptor is the number of the first that the service manager passes
// (SD_LISTEN_FDS_START, sd_listen_fds(3)).
const firstDescriptor = 3

// storePatience is how long the service manager may take to close what it
// kept.
const storePatience = 2 * time.Second

// descriptorStore keeps descriptors beyond the end of the daemon with the
// service manager (sd_pid_notify_with_fds(3), FDSTORE=1). Without one it keeps
// nothing.
type descriptorStore struct {
	socket string // of the service manager; empty: none
	log    *slog.Logger

	mu sync.Mutex
	// left are those of the former process that nobody took, by name.
	left map[string][]int
	kept map[string]bool // names under which something may be kept
}

// openDescriptorStore takes over what the service manager has passed to this
// process, so that no child inherits it.
func openDescriptorStore(log *slog.Logger) *descriptorStore {
	s := &descriptorStore{socket: os.Getenv("NOTIFY_SOCKET"), log: log, left: map[string][]int{}, kept: map[string]bool{}}
	for i, name := range passedNames(os.Getenv, os.Getpid()) {
		unix.CloseOnExec(firstDescriptor + i)
		s.left[name] = append(s.left[name], firstDescriptor+i)
		s.kept[name] = true
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	return s
}

// passedNames are the names of the descriptors that the environment tells of,
// if they are for the process with that number. One without a name is
// "unknown", as sd_listen_fds_with_names(3) has it.
func passedNames(environment func(string) string, pid int) []string {
	if environment("LISTEN_PID") != strconv.Itoa(pid) {
		return nil
	}
	n, err := strconv.Atoi(environment("LISTEN_FDS"))
	if err != nil || n <= 0 || n > 1<<16 {
		return nil
	}
	given := strings.Split(environment("LISTEN_FDNAMES"), ":")
	names := make([]string, n)
	for i := range names {
		names[i] = "unknown"
		if len(given) == n && given[i] != "" {
			names[i] = given[i]
		}
	}
	return names
}

// Take implements tunnel.Store.
func (s *descriptorStore) Take(name string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.left[name]
	delete(s.left, name)
	return list
}

// Put implements tunnel.Store. The manager is asked not to poll them: it would
// be told of every packet.
func (s *descriptorStore) Put(name string, descriptors []int) error {
	s.mu.Lock()
	s.kept[name] = true
	s.mu.Unlock()
	return s.send("FDSTORE=1\nFDNAME="+name+"\nFDPOLL=0", descriptors...)
}

// Remove implements tunnel.Store.
func (s *descriptorStore) Remove(name string) error {
	s.mu.Lock()
	kept := s.kept[name]
	delete(s.kept, name)
	s.mu.Unlock()
	if !kept {
		return nil
	}
	if err := s.send("FDSTOREREMOVE=1\nFDNAME=" + name); err != nil {
		return err
	}
	return s.settle()
}

// discard closes what the former process left and nobody wants any more.
func (s *descriptorStore) discard() {
	s.mu.Lock()
	left := s.left
	s.left = map[string][]int{}
	s.mu.Unlock()
	for name, list := range left {
		udp.CloseAll(list)
		s.log.Info("descriptors of a former process closed", "name", name, "count", len(list))
		if err := s.Remove(name); err != nil {
			s.log.Warn("still kept", "name", name, "error", err)
		}
	}
}

// settle waits until the manager has read what was sent: it closes a
// descriptor that comes later (BARRIER=1; a manager that does not know it
// closes what it has no use for).
func (s *descriptorStore) settle() error {
	if s.socket == "" {
		return nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	err = s.send("BARRIER=1", int(write.Fd()))
	if err = errors.Join(err, write.Close()); err != nil {
		return err
	}
	if err := read.SetReadDeadline(time.Now().Add(storePatience)); err != nil {
		return err
	}
	_, err = read.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("service manager: no answer in %s", storePatience)
	}
	return nil // the end of the pipe
}

// send sends a message to the service manager, if there is one.
func (s *descriptorStore) send(message string, descriptors ...int) error {
	if s.socket == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(storePatience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience); err != nil {
		return err
	}
	var rights []byte
	if len(descriptors) > 0 {
		rights = unix.UnixRights(descriptors...)
	}
	if err := unix.Sendmsg(fd, []byte(message), rights, &unix.SockaddrUnix{Name: s.socket}, 0); err != nil {
		return fmt.Errorf("service manager: %s: %w", s.socket, err)
	}
	return nil
}
