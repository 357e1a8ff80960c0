package schema

import (
	"strconv"
	"strings"
)

// pointer is a JSON pointer (RFC 6901) into a document: "/spec/ports/0".
type pointer string

var (
	pointerEscape   = strings.NewReplacer("~", "~0", "/", "~1")
	pointerUnescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// field is the pointer to a field of what p points to.
func (p pointer) field(names ...string) pointer {
	for _, name := range names {
		p += "/" + pointer(pointerEscape.Replace(name))
	}
	return p
}

// item is the pointer to an element of what p points to.
func (p pointer) item(i int) pointer { return p + "/" + pointer(strconv.Itoa(i)) }

// parts are the unescaped steps of the pointer.
func (p pointer) parts() []string {
	if p == "" {
		return nil
	}
	parts := strings.Split(string(p[1:]), "/")
	for i := range parts {
		parts[i] = pointerUnescape.Replace(parts[i])
	}
	return parts
}

// path writes the pointer as people do: spec.ports[0]. The node tells
// elements of lists from fields with digits as their name; it may be nil.
func (p pointer) path(root *node) string {
	var b strings.Builder
	n := root
	for _, part := range p.parts() {
		switch {
		case n != nil && n.kind == kindSequence:
			b.WriteString("[" + part + "]")
		case strings.ContainsAny(part, "./[] "):
			b.WriteString("[" + strconv.Quote(part) + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(part)
		}
		n = n.child(part)
	}
	return b.String()
}
