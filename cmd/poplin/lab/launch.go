//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Launched is a lab that this process has started.
type Launched struct {
	keeper *exec.Cmd
	conn   net.Conn // closing it ends a keeper that is not detached
	gone   chan struct{}
}

// Launch starts the keeper of a lab and waits until the namespaces, the
// network and the daemons' processes are there. The directory is filled into
// lab, and copies of trees if it has a Backend of its own. A lab
// of that name that runs already is an error; what a dead one left behind is
// removed first.
func Launch(ctx context.Context, lab *Lab) (*Launched, error) {
	d, err := OpenDirectory(lab.Name)
	if err != nil {
		return nil, err
	}
	l, err := launch(d, lab)
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", lab.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	if err := l.handOver(*lab); err != nil {
		err = fmt.Errorf("lab %s: %w%s", lab.Name, err, lastWords(filepath.Join(lab.Dir, keeperLog)))
		_, downErr := Down(lab.Name)
		return nil, errors.Join(err, downErr)
	}
	if lab.Detached {
		l.conn.Close()
	}
	return l, nil
}

// launch makes the lab's directory and starts the keeper, which waits for its
// orders. The state file is written before they are given: whatever happens
// later, Down finds the keeper.
func launch(d Directory, lab *Lab) (*Launched, error) {
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	alive, err := d.running()
	if err != nil {
		return nil, err
	}
	if alive {
		return nil, fmt.Errorf("runs already; `poplin lab down --name %s` removes it", lab.Name)
	}
	if _, err := d.remove(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.Path(), 0o700); err != nil {
		return nil, err
	}
	lab.Dir = d.Path()
	if lab.Backend != "" {
		if err := lab.override(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(d.Path()))
		}
	}
	l, err := startKeeper(d)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.Path()))
	}
	id, err := identify(l.keeper.Process.Pid)
	if err == nil {
		err = d.writeState(state{Version: stateVersion, Keeper: id})
	}
	if err != nil {
		l.conn.Close()
		return nil, errors.Join(err, os.RemoveAll(d.Path()))
	}
	return l, nil
}

// startKeeper runs this program again in new namespaces. Root needs no user
// namespace, unless it is a container's root without the capability.
func startKeeper(d Directory) (*Launched, error) {
	if os.Geteuid() == 0 {
		l, err := startKeeperIn(d, false)
		if !errors.Is(err, unix.EPERM) {
			return l, err
		}
	}
	l, err := startKeeperIn(d, true)
	if err != nil {
		return nil, refused(err)
	}
	return l, nil
}

func startKeeperIn(d Directory, userNamespace bool) (*Launched, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	log, err := os.OpenFile(filepath.Join(d.Path(), keeperLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "lab", "keeper")
	cmd.Args[0] = "poplin"
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{theirs}
	// A session of its own keeps the terminal's Ctrl-C from the keeper.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID}
	if userNamespace {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("start keeper: %w", err)
	}
	l := &Launched{keeper: cmd, conn: ours, gone: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is of no interest: Gone says that it did
		close(l.gone)
	}()
	return l, nil
}

// socketPair gives two ends of one stream.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "keeper")
	defer file.Close()
	ours, err := net.FileConn(file)
	if err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	return ours, os.NewFile(uintptr(fds[1]), "launcher"), nil
}

// handOver gives the keeper its orders and waits for its answer: a line,
// empty if all went well.
func (l *Launched) handOver(lab Lab) error {
	if err := json.NewEncoder(l.conn).Encode(lab); err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	var answer strings.Builder
	var b [1]byte
	for {
		if _, err := io.ReadFull(l.conn, b[:]); err != nil {
			return fmt.Errorf("keeper ended: %w", err)
		}
		if b[0] == '\n' {
			break
		}
		answer.WriteByte(b[0])
	}
	if answer.Len() > 0 {
		return errors.New(answer.String())
	}
	return nil
}

// Close ends the lab, unless it is detached; it does not wait.
func (l *Launched) Close() { l.conn.Close() }

// Gone is closed when the keeper, and with it the lab, has ended.
func (l *Launched) Gone() <-chan struct{} { return l.gone }

// lastWords gives the end of a log, for an error.
func lastWords(path string) string {
	const most = 2000
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		return ""
	}
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return "\n" + strings.TrimSpace(string(data))
}
