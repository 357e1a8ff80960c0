package linux

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dirWatch hears of names that come and go in the directory of namespaces.
// It is plain inotify because the watch must be set in the directory's mount
// namespace.
type dirWatch struct{ file *os.File }

func (m mounts) watch() (*dirWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &dirWatch{os.NewFile(uintptr(fd), "inotify")}
	err = m.do(func() error {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		_, err := unix.InotifyAddWatch(fd, m.dir,
			unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR)
		return err
	})
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("watching %s: %w", m.dir, err)
	}
	return w, nil
}

func (w *dirWatch) Close() error { return w.file.Close() }

// wait returns when something happened in the directory.
func (w *dirWatch) wait(buf []byte) error {
	_, err := w.file.Read(buf)
	return err
}
