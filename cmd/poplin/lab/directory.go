//go:build linux

package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into sockaddr_un with its final zero (unix(7)).
const maxSocketPath = 107

const (
	socketFile = "keeper.sock"
	stateFile  = "state.json"
	keeperLog  = "keeper.log"
)

// Directory is where one lab keeps its socket, its logs and its state, on the
// machine outside the lab.
type Directory struct {
	base string
	name string
}

// OpenDirectory finds the place of a lab and makes the directory above it:
// below $XDG_RUNTIME_DIR, else below /run for root, else in the temporary
// directory under a name that has the user's number. It does not make the
// lab's own directory.
func OpenDirectory(name string) (Directory, error) {
	if err := CheckName(name); err != nil {
		return Directory{}, err
	}
	base := filepath.Join(os.TempDir(), "poplin-lab-"+strconv.Itoa(os.Geteuid()))
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		base = filepath.Join(runtime, "poplin-lab")
	} else if os.Geteuid() == 0 {
		base = "/run/poplin-lab"
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return Directory{}, err
	}
	// In a directory that everyone may write to, somebody else could have
	// been there first.
	var st unix.Stat_t
	if err := unix.Lstat(base, &st); err != nil {
		return Directory{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
		return Directory{}, fmt.Errorf("%s: not a directory of this user", base)
	}
	d := Directory{base: base, name: name}
	if len(d.Socket()) > maxSocketPath {
		return Directory{}, fmt.Errorf("%s: path too long for a socket; set XDG_RUNTIME_DIR to a shorter one", d.Path())
	}
	return d, nil
}

// Path is the lab's own directory.
func (d Directory) Path() string { return filepath.Join(d.base, d.name) }

// Socket is where the keeper listens.
func (d Directory) Socket() string { return filepath.Join(d.Path(), socketFile) }

// Log is the log file of a node's daemon.
func (d Directory) Log(node string) string { return logPath(d.Path(), node) }

func logPath(dir, node string) string { return filepath.Join(dir, node+".log") }

// lock makes starting and removing labs of one user exclude each other; the
// returned function ends that.
func (d Directory) lock() (func(), error) {
	f, err := os.Open(d.base)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", d.base, err)
	}
	return func() { f.Close() }, nil
}

// identity is one process, for ever: process numbers come again, but not with
// the same start time since the same boot.
type identity struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"` // clock ticks since boot (proc(5), field 22 of stat)
	BootID    string `json:"bootID"`
}

// identify reads the identity of a process as seen from here. The error is
// fs.ErrNotExist if it has ended.
func identify(pid int) (identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return identity{}, err
	}
	// The second field is the name in parentheses; it may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return identity{}, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	// One that nobody has waited for yet is gone all the same.
	if fields[0] == "Z" || fields[0] == "X" {
		return identity{}, fmt.Errorf("process %d: %w", pid, fs.ErrNotExist)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return identity{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, err
	}
	return identity{pid, start, strings.TrimSpace(string(boot))}, nil
}

// state is the content of the state file.
type state struct {
	Version int      `json:"version"`
	Keeper  identity `json:"keeper"`
}

const stateVersion = 1

func (d Directory) writeState(s state) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(d.Path(), stateFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readState gives ErrNotRunning if there is no state file.
func (d Directory) readState() (state, error) {
	data, err := os.ReadFile(filepath.Join(d.Path(), stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, fmt.Errorf("lab %s: %w", d.name, ErrNotRunning)
	}
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return state{}, fmt.Errorf("%s: %w", filepath.Join(d.Path(), stateFile), err)
	}
	if s.Version != stateVersion {
		return state{}, fmt.Errorf("%s: version %d, want %d", filepath.Join(d.Path(), stateFile), s.Version, stateVersion)
	}
	return s, nil
}

// running reports whether the lab's keeper is alive.
func (d Directory) running() (bool, error) {
	s, err := d.readState()
	if errors.Is(err, ErrNotRunning) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	found, err := identify(s.Keeper.PID)
	return err == nil && found == s.Keeper, nil
}
