package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// look is what the directory looks like at one moment, without contents.
type look struct {
	resolved string
	rootID   id
	linked   bool // a symbolic link is on the root's path
	entries  []entry
	files    []document
	newest   entry  // with the newest ctime
	busy     string // a busy marker, "" if there is none
	git      head
	named    string // revision that does not come from the content, or ""
	watch    map[string]interest
	err      error // ErrMissing, ErrEmpty, ErrUnstable, ErrRefused
}

// document is a file to be read.
type document struct {
	path  string // as the tree names it
	real  string // below the root, without symbolic links
	stamp stamp
}

// interest is what is to be watched in one folder.
type interest struct {
	id    id
	all   bool              // the folder belongs to the tree
	names map[string]effect // other names, with what an event of them means
	// required: without a watch changes would be missed. Not so above folders
	// that are hardly ever renamed; some cannot be watched by a plain user.
	required bool
}

// spareEntries is for what came since the last look.
const spareEntries = 16

// lookAt resolves the root and walks it. What is wrong is in the result's
// err; what to watch is there in any case. There will be about as much as last
// time, if there was one.
func lookAt(root string, last *look) *look {
	l := &look{watch: make(map[string]interest)}
	if last != nil {
		l.entries = make([]entry, 0, len(last.entries)+spareEntries)
		l.files = make([]document, 0, len(last.files)+spareEntries)
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		l.err = fmt.Errorf("%w: %s: %w", ErrMissing, root, err)
		return l
	}
	resolved, lookups, err := resolve("/", abs)
	l.follow(lookups)
	for _, step := range lookups {
		l.linked = l.linked || step.link != ""
	}
	if err != nil {
		l.err = rootError(root, lookups, err)
		return l
	}
	if n := len(lookups); n > 0 && !lookups[n-1].stamp.mode.IsDir() {
		l.err = fmt.Errorf("%w: %s is not a folder", ErrRefused, root)
		return l
	}
	l.resolved = resolved
	if l.err = walk(l); l.err != nil {
		l.err = fmt.Errorf("%w (in %s)", l.err, root)
		return l
	}
	l.git = findGit(l)
	l.named = nameRevision(l, lookups)
	if len(l.files) == 0 {
		l.err = fmt.Errorf("%w: no *.yaml, *.yml or *.json file in %s", ErrEmpty, root)
	}
	return l
}

// rootError says why the root cannot be resolved.
func rootError(root string, lookups []lookup, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %s: %w", ErrRefused, root, err)
	}
	for _, step := range slices.Backward(lookups) {
		if step.link != "" {
			return fmt.Errorf("%w: %s: dangling symbolic link %s → %s", ErrMissing, root,
				filepath.Join(step.dir, step.name), step.link)
		}
	}
	return fmt.Errorf("%w: %s does not exist", ErrMissing, root)
}

// follow asks for watches on every name that was looked up.
func (l *look) follow(lookups []lookup) {
	for _, step := range lookups {
		plain := step.stamp.mode.IsDir()
		l.watchName(step.dir, step.dirID, step.name, moved, !plain)
	}
}

// watchName asks for events of one name in a folder.
func (l *look) watchName(dir string, dirID id, name string, means effect, required bool) {
	in := l.watch[dir]
	in.id = dirID
	if in.names == nil {
		in.names = make(map[string]effect)
	}
	in.names[name] = means
	in.required = in.required || required
	l.watch[dir] = in
}

// watchAll asks for all events of a folder.
func (l *look) watchAll(dir string, dirID id) {
	in := l.watch[dir]
	in.id, in.all, in.required = dirID, true, true
	l.watch[dir] = in
}

// add records an entry of the tree.
func (l *look) add(e entry) error {
	if len(l.entries) >= maxEntries {
		return fmt.Errorf("%w: %s: more than %d files and folders", ErrRefused, e.path, maxEntries)
	}
	l.entries = append(l.entries, e)
	if e.stamp.ctime > l.newest.stamp.ctime {
		l.newest = e
	}
	return nil
}

// same reports whether nothing changed between two looks, as far as stamps
// can tell.
func (l *look) same(o *look) bool {
	return o != nil && l.resolved == o.resolved && l.rootID == o.rootID &&
		l.named == o.named && l.git == o.git &&
		errorText(l.err) == errorText(o.err) && slices.Equal(l.entries, o.entries)
}

// sameRoot reports whether the root's path leads to the same folder.
func (l *look) sameRoot(o *look) bool { return l.resolved == o.resolved && l.rootID == o.rootID }

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// openRoot opens the resolved root for reading beneath it.
func (l *look) openRoot() (*os.Root, stamp, error) {
	root, err := os.OpenRoot(l.resolved)
	if err != nil {
		return nil, stamp{}, err
	}
	info, err := root.Stat(".")
	if err != nil {
		_ = root.Close()
		return nil, stamp{}, err
	}
	return root, stampOf(info), nil
}
