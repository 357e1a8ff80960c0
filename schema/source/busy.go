package source

import (
	"os"
	"path"
	"regexp"
	"time"
)

// rsyncTemp is the name under which rsync writes NAME until it is complete
// (receiver.c, get_tmpname: .NAME.XXXXXX). Only documents count.
var rsyncTemp = regexp.MustCompile(`^\..+\.(?:yaml|yml|json)\.[A-Za-z0-9]{6}$`)

// staleTemp is the age above which a file that looks like one of rsync's
// belongs to a killed transfer, or is no such file (.web.yaml.backup).
const staleTemp = time.Minute

// isBusyMarker reports whether the name, in an open folder of the tree, says
// that a tool is in the middle of writing.
func isBusyMarker(dir *os.Root, base string) bool {
	if base == ".~tmp~" { // rsync --delay-updates
		return true
	}
	if base[0] != '.' || !rsyncTemp.MatchString(base) {
		return false
	}
	info, err := dir.Lstat(base)
	return err == nil && time.Since(time.Unix(0, stampOf(info).ctime)) < staleTemp
}

// gitLock gives the path of git's lock on the index, if it is held.
func gitLock(gitDir string) string {
	lock := path.Join(gitDir, "index.lock")
	if _, err := os.Lstat(lock); err != nil {
		return ""
	}
	return lock
}
