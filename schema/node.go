package schema

import (
	"math"
	"strconv"
)

// nodeKind is the kind of a value in a document.
type nodeKind uint8

const (
	kindNull nodeKind = iota
	kindBool
	kindInt
	kindFloat
	kindString
	kindSequence
	kindMapping
)

// String gives the word that messages use.
func (k nodeKind) String() string {
	return [...]string{"nothing", "a boolean", "a whole number", "a number", "a string", "a list", "a map"}[k]
}

// node is a value in a document with its place. Aliases are resolved, keys
// are strings and distinct.
type node struct {
	kind nodeKind
	flow bool // a collection in brackets
	// damaged documents lack what the syntax refused.
	damaged bool
	text    string // of a scalar: a string's value, else as written
	line    int    // from 1
	column  int    // from 1, in characters
	width   int    // characters on its first line, as far as known
	keys    []*node
	items   []*node // values of keys, or elements
}

// get returns the value of a field; nil if it is missing or null. n may be nil.
func (n *node) get(name string) *node {
	if n == nil || n.kind != kindMapping {
		return nil
	}
	for i, k := range n.keys {
		if k.text == name && n.items[i].kind != kindNull {
			return n.items[i]
		}
	}
	return nil
}

// key returns the node of a field's name, or nil.
func (n *node) key(name string) *node {
	if n == nil || n.kind != kindMapping {
		return nil
	}
	for _, k := range n.keys {
		if k.text == name {
			return k
		}
	}
	return nil
}

// child is get for maps and the element of that index for lists.
func (n *node) child(step string) *node {
	if n == nil || n.kind != kindSequence {
		return n.get(step)
	}
	i, err := strconv.Atoi(step)
	if err != nil || i < 0 || i >= len(n.items) {
		return nil
	}
	return n.items[i]
}

// string returns the text of a scalar field, or "".
func (n *node) string(name string) string {
	v := n.get(name)
	if v == nil || v.kind == kindSequence || v.kind == kindMapping {
		return ""
	}
	return v.text
}

// at follows a pointer as far as it goes.
func (n *node) at(p pointer) *node {
	for _, step := range p.parts() {
		n = n.child(step)
	}
	return n
}

// position is a place in a file with the characters to underline.
type position struct{ line, column, width int }

func (n *node) position() position { return position{n.line, n.column, max(n.width, 1)} }

// find gives the position of what the pointer names: the value itself if it
// is a scalar, the name of the field if it is a collection. Where nothing is
// there, it is the place of the innermost thing around it.
func (n *node) find(p pointer) position {
	where := n.position()
	for _, step := range p.parts() {
		key, value := n.key(step), n.child(step)
		if value == nil {
			if key != nil {
				return key.position()
			}
			return where
		}
		where = value.position()
		if key != nil && (value.kind == kindMapping || value.kind == kindSequence) {
			where = key.position()
		}
		n = value
	}
	return where
}

// json converts the node to the values that encoding/json would give. Fields
// without a value are left out, as Kubernetes does.
func (n *node) json() any {
	switch n.kind {
	case kindBool:
		return n.text == "true"
	case kindInt:
		if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
			return i
		}
		return n.float()
	case kindFloat:
		return n.float()
	case kindString:
		return n.text
	case kindSequence:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.json()
		}
		return list
	case kindMapping:
		object := make(map[string]any, len(n.keys))
		for i, key := range n.keys {
			if n.items[i].kind != kindNull {
				object[key.text] = n.items[i].json()
			}
		}
		return object
	}
	return nil
}

// float is the number of a scalar. What is out of range becomes the largest
// finite number, which no field accepts.
func (n *node) float() float64 {
	f, err := strconv.ParseFloat(n.text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return math.MaxFloat64
	}
	return f
}
