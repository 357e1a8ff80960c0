package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mounts is the directory in which network namespaces are bound, in the
// mount namespace from which everybody sees it. A daemon with a mount
// namespace of its own (a hardened unit) would bind them where nobody else
// can join.
type mounts struct {
	dir       string
	namespace string // path of the mount namespace; "" is the process's own
}

// bound is a name in the directory.
type bound struct {
	name  string
	inode uint64 // of the network namespace; 0 if the file is none
}

// do runs fn with the directory's mount namespace as that of the thread.
func (m mounts) do(fn func() error) error {
	if m.namespace == "" {
		return fn()
	}
	ns, err := os.Open(m.namespace)
	if err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	defer ns.Close()
	return onThread(func() error {
		// A thread that shares its working directory and root with others
		// cannot change its mount namespace (setns(2)).
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("mount namespace: unshare: %w", err)
		}
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("entering mount namespace %s: %w", m.namespace, err)
		}
		return fn()
	})
}

// list reads the directory; a missing one is empty.
func (m mounts) list() ([]bound, error) {
	var out []bound
	err := m.do(func() error {
		entries, err := os.ReadDir(m.dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			inode, err := namespaceInode(filepath.Join(m.dir, e.Name()))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			out = append(out, bound{e.Name(), inode})
		}
		return nil
	})
	return out, err
}

// inode returns the inode of the namespace that is bound under a name, 0 if
// the file is no namespace. The error is os.ErrNotExist if there is no file.
func (m mounts) inode(name string) (uint64, error) {
	var inode uint64
	err := m.do(func() (err error) {
		inode, err = namespaceInode(filepath.Join(m.dir, name))
		return err
	})
	return inode, err
}

func namespaceInode(path string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if uint32(fs.Type) != unix.NSFS_MAGIC {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// open opens the namespace that is bound under a name.
func (m mounts) open(name string) (*os.File, error) {
	var f *os.File
	err := m.do(func() (err error) {
		f, err = os.Open(filepath.Join(m.dir, name))
		return err
	})
	return f, err
}

// bind binds a namespace under a name. A file of that name must not exist.
func (m mounts) bind(ns *os.File, name string) error {
	return m.do(func() error {
		path := filepath.Join(m.dir, name)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
		if err != nil {
			return err
		}
		f.Close()
		// The descriptor is resolved in whatever /proc this mount namespace
		// has; it is this process's in all that share its PID namespace.
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), path, "", unix.MS_BIND, ""); err != nil {
			os.Remove(path)
			return &os.PathError{Op: "bind", Path: path, Err: err}
		}
		return nil
	})
}

// share makes the directory a shared mount, as ip-netns(8) does, so that
// what is bound in it shows in mount namespaces that were made from this one.
// It reports whether the directory was no mount before.
func (m mounts) share() (made bool, err error) {
	err = m.do(func() error {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		err := unix.Mount("", m.dir, "", unix.MS_SHARED|unix.MS_REC, "")
		if errors.Is(err, unix.EINVAL) { // not a mount point
			if err = unix.Mount(m.dir, m.dir, "", unix.MS_BIND|unix.MS_REC, ""); err == nil {
				made = true
				err = unix.Mount("", m.dir, "", unix.MS_SHARED|unix.MS_REC, "")
			}
		}
		if err != nil {
			return &os.PathError{Op: "share", Path: m.dir, Err: err}
		}
		return nil
	})
	return made, err
}

// remove removes the directory if it is empty, and before that the mount that
// share has made. A directory that is in use stays.
func (m mounts) remove(mounted bool) error {
	return m.do(func() error {
		entries, err := os.ReadDir(m.dir)
		if errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
			return nil
		}
		if err == nil && mounted {
			err = unix.Unmount(m.dir, unix.UMOUNT_NOFOLLOW)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EBUSY) {
			return &os.PathError{Op: "remove", Path: m.dir, Err: err}
		}
		// Empty, it was most likely made by us, and whoever needs it makes it.
		_ = os.Remove(m.dir)
		return nil
	})
}

// unbind removes a name, and the mount under it. A missing one is success.
func (m mounts) unbind(name string) error {
	return m.do(func() error {
		path := filepath.Join(m.dir, name)
		for {
			// More than one may lie on top of another.
			err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
				break // not (any more) a mount point
			}
			if err != nil {
				return &os.PathError{Op: "unmount", Path: path, Err: err}
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
}
