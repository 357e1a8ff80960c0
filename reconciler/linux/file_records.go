package linux

import (
	"maps"
	"path/filepath"
	"slices"
)

// fileRecords says where files of ours are, so that they are found again. A
// file is ours by its first line; the records alone prove nothing.
type fileRecords struct {
	path    string
	Version int             `json:"version"` // recordsVersion
	Files   map[string]bool `json:"files"`
	// Directories are those that were made for the files.
	Directories map[string]bool `json:"directories,omitempty"`
}

func readFileRecords(dir string) (*fileRecords, error) {
	r := &fileRecords{path: filepath.Join(dir, "files.json")}
	if err := readJSON(r.path, r); err != nil {
		return nil, err
	}
	r.Version = recordsVersion
	if r.Files == nil {
		r.Files = map[string]bool{}
	}
	if r.Directories == nil {
		r.Directories = map[string]bool{}
	}
	return r, nil
}

// add records files and directories, and returns when that is on disk. It is
// called before they are made: one without a record would stay for ever.
func (r *fileRecords) add(files, directories []string) error {
	before := len(r.Files) + len(r.Directories)
	for _, path := range files {
		r.Files[path] = true
	}
	for _, path := range directories {
		r.Directories[path] = true
	}
	if len(r.Files)+len(r.Directories) == before {
		return nil
	}
	return writeJSON(r.path, r)
}

// keep forgets the files and directories that are in neither map.
func (r *fileRecords) keep(files, directories map[string]bool) error {
	before := len(r.Files) + len(r.Directories)
	maps.DeleteFunc(r.Files, func(path string, _ bool) bool { return !files[path] })
	maps.DeleteFunc(r.Directories, func(path string, _ bool) bool { return !directories[path] })
	if len(r.Files)+len(r.Directories) == before {
		return nil
	}
	return writeJSON(r.path, r)
}

// parents are the directories that hold files.
func parents(files []string) []string {
	out := make([]string, len(files))
	for i, path := range files {
		out[i] = filepath.Dir(path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
