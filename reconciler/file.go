package reconciler

import (
	"crypto/sha256"
	"fmt"
)

// File is a file that poplin writes whole. Directories on the way to it that
// are missing are made, and removed with the last file below them.
//
// Content is part of the object, so that two objects are equal if and only if
// the files are; the text form shows its digest. It begins with the line that
// FileMark gives: what tells the file from somebody else's. So only formats
// that have comments with # will do.
type File struct {
	Path    string // absolute, clean
	Mode    uint32 // permission bits
	Content string
}

// FileKey identifies a File.
type FileKey struct{ Path string }

// FileMark is the first line of a file of ours, with its newline. The name
// says what the file is for.
func FileMark(cluster, name string) string { return "# poplin " + cluster + "/" + name + "\n" }

func (f File) Kind() Kind   { return KindFile }
func (f File) Key() Key     { return FileKey{f.Path} }
func (f File) Needs() []Key { return nil }

func (f File) String() string {
	sum := sha256.Sum256([]byte(f.Content))
	return fmt.Sprintf("file %s mode %04o sha256 %x", f.Path, f.Mode, sum[:6])
}
