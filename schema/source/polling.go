package source

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Mode says how changes are found.
type Mode string

// The modes.
const (
	// ModeAuto uses inotify, and polls where inotify cannot work.
	ModeAuto Mode = "auto"
	// ModeInotify uses inotify, and looks at the rescan interval only where
	// inotify cannot work.
	ModeInotify Mode = "inotify"
	// ModePoll uses no inotify.
	ModePoll Mode = "poll"
)

// ParseMode reads the flag --source.
func ParseMode(text string) (Mode, error) {
	switch m := Mode(text); m {
	case ModeAuto, ModeInotify, ModePoll:
		return m, nil
	}
	return "", fmt.Errorf("source mode %q: want auto, inotify or poll", text)
}

// pollEvery is the pause between looks while polling. A large tree is looked
// at less often: looking takes at most a fiftieth of the time.
func pollEvery(lookTook time.Duration) time.Duration {
	return max(time.Second, 50*lookTook)
}

// remoteFS gives the name of a file system whose changes are made elsewhere,
// so that inotify does not hear of them; "" for others. Numbers are from
// linux/magic.h and statfs(2).
func remoteFS(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return ""
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE"
	case unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return "SMB"
	case unix.V9FS_MAGIC:
		return "9P"
	case unix.CEPH_SUPER_MAGIC:
		return "Ceph"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC:
		return "AFS"
	}
	return ""
}

// watchProblem explains why inotify failed, with the setting that mends it.
func watchProblem(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "inotify: limit of watches reached, raise sysctl fs.inotify.max_user_watches"
	case errors.Is(err, syscall.EMFILE):
		return "inotify: limit of instances reached, raise sysctl fs.inotify.max_user_instances"
	}
	return "inotify: " + err.Error()
}
