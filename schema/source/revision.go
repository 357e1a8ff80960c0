package source

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

// head is what a git repository says about the version that is checked out.
type head struct {
	hash   string // "" if it cannot be told
	branch string // "" if detached
}

// nameRevision finds the revision that people know the tree by: the base name
// of a symbolic link's target on the root's path if it is a commit hash, else
// the file .revision, else git's HEAD. "" leaves it to the digest.
func nameRevision(l *look, lookups []lookup) string {
	name := ""
	for _, step := range lookups {
		if base := path.Base(step.link); isCommit(base) {
			name = base
		}
	}
	if name == "" {
		name = revisionFile(filepath.Join(l.resolved, ".revision"))
	}
	if name == "" {
		name = l.git.hash
	}
	return name
}

// isCommit reports whether the name is a commit hash, whole or shortened. A
// short one of digits only is more likely a date.
func isCommit(name string) bool {
	if len(name) < 7 || len(name) > 64 || strings.Trim(name, "0123456789abcdef") != "" {
		return false
	}
	return len(name) == 40 || len(name) == 64 || strings.ContainsAny(name, "abcdef")
}

// revisionFile gives the first line of the file, if it can be shown as it is.
func revisionFile(name string) string {
	content, err := readSmall(name, 4096)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(content), "\n")
	line = strings.TrimSpace(line)
	bad := func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }
	if len(line) > 128 || strings.ContainsFunc(line, bad) {
		return ""
	}
	return line
}

// findGit looks for a repository at the resolved root and above, as git does,
// records its lock and asks for events when its HEAD or index change: a commit
// writes the index just before the branch. A repository of / or /etc
// (etckeeper) says nothing about the tree in it.
func findGit(l *look) head {
	for dir := l.resolved; dir != "/" && dir != "/etc"; dir = path.Dir(dir) {
		gitDir, ok := gitDirOf(path.Join(dir, ".git"))
		if !ok {
			continue
		}
		if l.busy == "" {
			l.busy = gitLock(gitDir)
		}
		if info, err := os.Lstat(gitDir); err == nil {
			for _, name := range []string{"HEAD", "index"} {
				l.watchName(gitDir, stampOf(info).id, name, dirty, false)
			}
		}
		return readHead(gitDir)
	}
	return head{}
}

// gitDirOf gives the real path of the repository behind .git, which is a
// folder, or a file in a worktree (gitrepository-layout(5)).
func gitDirOf(dotGit string) (string, bool) {
	info, err := os.Stat(dotGit)
	if err != nil {
		return "", false
	}
	if info.Mode().IsRegular() {
		content, err := readSmall(dotGit, 4096)
		link, ok := strings.CutPrefix(strings.TrimSpace(string(content)), "gitdir: ")
		if err != nil || !ok {
			return "", false
		}
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(dotGit), link)
		}
		dotGit = link
	}
	gitDir, err := filepath.EvalSymlinks(dotGit)
	return gitDir, err == nil
}

// readHead resolves HEAD: detached, or through a loose or packed reference.
func readHead(gitDir string) head {
	content, err := readSmall(path.Join(gitDir, "HEAD"), 4096)
	if err != nil {
		return head{}
	}
	text := strings.TrimSpace(string(content))
	ref, symbolic := strings.CutPrefix(text, "ref: ")
	if !symbolic {
		return head{hash: fullHash(text)}
	}
	if !fs.ValidPath(ref) || !strings.HasPrefix(ref, "refs/") {
		return head{}
	}
	hash := fullHash(looseRef(gitDir, ref))
	if hash == "" {
		return head{}
	}
	return head{hash: hash, branch: strings.TrimPrefix(ref, "refs/heads/")}
}

// looseRef looks a reference up in the worktree's folder, then in the
// repository's own, then among the packed ones.
func looseRef(gitDir, ref string) string {
	common := gitDir
	if content, err := readSmall(path.Join(gitDir, "commondir"), 4096); err == nil {
		if common = strings.TrimSpace(string(content)); !path.IsAbs(common) {
			common = path.Join(gitDir, common)
		}
	}
	for _, dir := range []string{gitDir, common} {
		if content, err := readSmall(path.Join(dir, ref), 4096); err == nil {
			return strings.TrimSpace(string(content))
		}
	}
	packed, err := readSmall(path.Join(common, "packed-refs"), 16<<20)
	if err != nil {
		return ""
	}
	lines := bufio.NewScanner(bytes.NewReader(packed))
	for lines.Scan() {
		if hash, ok := strings.CutSuffix(lines.Text(), " "+ref); ok {
			return hash
		}
	}
	return ""
}

// fullHash gives the text back if it is a whole SHA-1 or SHA-256 hash.
func fullHash(text string) string {
	if (len(text) == 40 || len(text) == 64) && isCommit(text) {
		return text
	}
	return ""
}

// shortRevision shortens hashes and digests for people.
func shortRevision(revision string) string {
	if sum, ok := strings.CutPrefix(revision, "sha256:"); ok && len(sum) > 12 {
		return "sha256:" + sum[:12]
	}
	if fullHash(revision) != "" {
		return revision[:7]
	}
	return revision
}

// readSmall reads a regular file without ever blocking on it.
func readSmall(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", name, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
