package schema

// File is one file of the tree.
type File struct {
	Path    string // below the root, with slashes
	Content []byte
}
