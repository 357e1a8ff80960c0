package source

import (
	"io/fs"
	"syscall"
	"time"
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
