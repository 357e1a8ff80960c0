package linux

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// dirWatch hears of names that come and go in the directory of namespaces,
// and of changes to what lies in the directories of our files. It is plain
// inotify because the watches must be set in the mount namespace of the
// directories.
type dirWatch struct {
	mounts mounts
	file   *os.File
	names  int32 // the watch of the directory of namespaces

	mu   sync.Mutex
	fd   int
	dirs map[string]int32 // directories of files with their watches
}

// What is heard of a directory of namespaces, and of one with files.
const (
	gone       = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	namesMask  = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | gone
	filesMask  = namesMask | unix.IN_MODIFY | unix.IN_ATTRIB
	neverWatch = -1
)

func (m mounts) watch() (*dirWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &dirWatch{mounts: m, file: os.NewFile(uintptr(fd), "inotify"), fd: fd, names: neverWatch, dirs: map[string]int32{}}
	err = m.do(func() error {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		id, err := unix.InotifyAddWatch(fd, m.dir, namesMask)
		w.names = int32(id)
		return err
	})
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("watching %s: %w", m.dir, err)
	}
	return w, nil
}

// Close ends wait. Nothing is watched from then on.
func (w *dirWatch) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fd = -1 // the number may become somebody else's
	return w.file.Close()
}

// follow watches these directories of files, and no others any more. It
// reports whether all are watched: one that is missing cannot be, nor the
// directory of namespaces once more.
func (w *dirWatch) follow(dirs []string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	wanted := map[string]bool{}
	var missing []string
	for _, dir := range dirs {
		wanted[dir] = true
		if _, ok := w.dirs[dir]; !ok {
			missing = append(missing, dir)
		}
	}
	for dir, id := range w.dirs {
		if !wanted[dir] {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(id)) // gone already, perhaps
			delete(w.dirs, dir)
		}
	}
	if len(missing) == 0 {
		return true
	}
	whole := true
	err := w.mounts.do(func() error {
		for _, dir := range missing {
			if dir == w.mounts.dir {
				whole = false
				continue
			}
			id, err := unix.InotifyAddWatch(w.fd, dir, filesMask)
			if err != nil {
				whole = false
				continue
			}
			w.dirs[dir] = int32(id)
		}
		return nil
	})
	return err == nil && whole
}

// wait returns what is out of date when something happened.
func (w *dirWatch) wait(buf []byte) (marks, error) {
	n, err := w.file.Read(buf)
	var m marks
	for rest := buf[:max(n, 0)]; len(rest) >= unix.SizeofInotifyEvent; {
		id := int32(binary.NativeEndian.Uint32(rest))
		mask := binary.NativeEndian.Uint32(rest[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
		rest = rest[min(size, len(rest)):]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			m.dir, m.files = true, true
		case id == w.names:
			m.dir = true
		default:
			m.files = true
			if mask&(unix.IN_IGNORED|unix.IN_MOVE_SELF) != 0 {
				w.lost(id)
			}
		}
	}
	return m, err
}

// lost forgets a watch whose directory is no longer where it was.
func (w *dirWatch) lost(id int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for dir, other := range w.dirs {
		if other == id {
			delete(w.dirs, dir)
		}
	}
}
