package schema

import (
	"cmp"
	"strconv"
)

// Name is the namespace and the name of a document.
type Name struct{ Namespace, Name string }

// String formats the name as NAMESPACE/NAME.
func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Compare orders names by namespace, then name.
func (n Name) Compare(o Name) int {
	return cmp.Or(cmp.Compare(n.Namespace, o.Namespace), cmp.Compare(n.Name, o.Name))
}

// Place is where a document, or a part of one, stands.
type Place struct {
	File   string // path below the root of the tree, with slashes
	Line   int    // from 1
	Column int    // from 1, in characters
}

// String formats the place as file:line.
func (p Place) String() string { return p.File + ":" + strconv.Itoa(p.Line) }

// Meta is what every document has.
type Meta struct {
	Name        // Namespace is "default" where none is written, "" for Cluster, Node and Subnet
	Labels      map[string]string
	Annotations map[string]string // those that poplin reads: poplin/*
	Place       Place             // of the document's first key
}
