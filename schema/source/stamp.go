package source

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// id is an inode, wherever its name is.
type id struct{ dev, ino uint64 }

// stamp changes whenever the inode's content or attributes do, as far as the
// granularity of ctime goes (4 ms, or less from kernel 6.13 on).
type stamp struct {
	id    id
	mode  fs.FileMode
	size  int64
	ctime int64 // nanoseconds since 1970
}

// stampOf reads the stamp out of what Lstat returned.
func stampOf(info fs.FileInfo) stamp {
	s := stamp{mode: info.Mode(), size: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.id = id{st.Dev, st.Ino}
		s.ctime = time.Unix(st.Ctim.Unix()).UnixNano()
	}
	return s
}

// stampAt reads the stamp of a name in an open folder, without following it.
func stampAt(folder *os.File, name string) (stamp, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(folder.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	for err == unix.EINTR {
		err = unix.Fstatat(int(folder.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	return stamp{
		id: id{st.Dev, st.Ino}, mode: fileMode(st.Mode), size: st.Size,
		ctime: time.Unix(st.Ctim.Unix()).UnixNano(),
	}, err
}

// fileMode is what the os package makes of the mode in inode(7).
func fileMode(mode uint32) fs.FileMode {
	out := fs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		out |= fs.ModeDevice
	case unix.S_IFCHR:
		out |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFDIR:
		out |= fs.ModeDir
	case unix.S_IFIFO:
		out |= fs.ModeNamedPipe
	case unix.S_IFLNK:
		out |= fs.ModeSymlink
	case unix.S_IFSOCK:
		out |= fs.ModeSocket
	}
	if mode&unix.S_ISUID != 0 {
		out |= fs.ModeSetuid
	}
	if mode&unix.S_ISGID != 0 {
		out |= fs.ModeSetgid
	}
	if mode&unix.S_ISVTX != 0 {
		out |= fs.ModeSticky
	}
	return out
}

// racyAge is how old a ctime must be for a later write to be sure to change
// it: well above the coarsest clock tick.
const racyAge = 100 * time.Millisecond

// racy reports whether a file of this stamp, read at the given time, could
// have been changed since without the stamp showing it.
func (s stamp) racy(read time.Time) bool {
	return read.UnixNano()-s.ctime < int64(racyAge)
}

// entry is a file, a folder or a symbolic link of the tree.
type entry struct {
	path   string // below the root
	target string // of a symbolic link
	stamp  stamp
}
