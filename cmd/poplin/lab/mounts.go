//go:build linux

package lab

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// What a host of the lab finds in its /run.
const (
	labRun       = "/run/poplin-lab"
	binFolder    = labRun + "/bin"
	binaryInside = binFolder + "/poplin"
	daemonSocket = "/run/poplin/" + api.SocketName
	keyInside    = labRun + "/gossip.key"
)

// hidden are the directories that every host has for itself: the default
// paths of the daemon are below them.
var hidden = [...]string{"/run", "/var/lib"}

// mounts says what a host sees in place of the machine's files.
type mounts struct {
	binary string // this program
	tree   string // directory of documents; empty: none
	key    string // content of the gossip key file; empty: none
	log    *slog.Logger
}

// make mounts it all. It runs on a thread that has just got a mount namespace
// of its own.
func (m mounts) make() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// What lies below the hidden directories is held before they are hidden.
	binary, err := os.OpenFile(m.binary, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer binary.Close()
	tree, err := m.holdTree()
	if err != nil {
		return err
	}
	if tree != nil {
		defer tree.Close()
	}
	for _, dir := range hidden {
		if err := mountTmpfs(dir); err != nil {
			return err
		}
	}
	if err := bindFile(binary, binaryInside); err != nil {
		return err
	}
	if tree != nil {
		if err := bindDirectory(tree, tree.Name()); err != nil {
			return err
		}
	}
	if m.key != "" {
		if err := os.WriteFile(keyInside, []byte(m.key), 0o600); err != nil {
			return err
		}
	}
	m.mountEtc()
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		m.log.Warn("the hosts see the machine's /sys", "error", err)
	}
	return nil
}

// holdTree opens the directory that holds the tree, if hiding would hide it.
// It is the one above the tree, so that a symlink that is the tree can still
// be turned to something beside it.
func (m mounts) holdTree() (*os.File, error) {
	for _, dir := range hidden {
		if m.tree != dir && !strings.HasPrefix(m.tree, dir+"/") {
			continue
		}
		above := filepath.Dir(m.tree)
		if above == dir || m.tree == dir {
			return nil, fmt.Errorf("%s: the hosts of a lab have a %s of their own; put the tree elsewhere", m.tree, dir)
		}
		return os.OpenFile(above, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	return nil, nil
}

// mountEtc makes /etc writable without writing to the machine's. Without it
// (a kernel without overlayfs in user namespaces, before 5.11) the hosts
// share the machine's /etc.
func (m mounts) mountEtc() {
	upper, work := labRun+"/etc/upper", labRun+"/etc/work"
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			m.log.Warn("the hosts share the machine's /etc", "error", err)
			return
		}
	}
	options := "lowerdir=/etc,upperdir=" + upper + ",workdir=" + work
	err := unix.Mount("overlay", "/etc", "overlay", 0, options+",userxattr")
	if err != nil {
		err = unix.Mount("overlay", "/etc", "overlay", 0, options)
	}
	if err != nil {
		m.log.Warn("the hosts share the machine's /etc", "error", err)
		return
	}
	if err := noResolvers(); err != nil {
		m.log.Warn("the hosts have the machine's resolv.conf", "error", err)
	}
}

// noResolvers takes the machine's resolvers out of the host's /etc: there is
// no way to them.
func noResolvers() error {
	const path = "/etc/resolv.conf"
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // it may be a symlink
		return err
	}
	return os.WriteFile(path, []byte("# no resolver can be reached from the lab\n"), 0o644)
}

func mountTmpfs(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// bindFile binds an open file to a path, which it makes.
func bindFile(source *os.File, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(target, nil, 0o755); err != nil {
		return err
	}
	return bind(source, target)
}

// bindDirectory binds an open directory to a path, which it makes.
func bindDirectory(source *os.File, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return bind(source, target)
}

func bind(source *os.File, target string) error {
	from := fmt.Sprintf("/proc/thread-self/fd/%d", source.Fd())
	if err := unix.Mount(from, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source.Name(), target, err)
	}
	return nil
}
