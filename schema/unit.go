package schema

import (
	"strings"
)

// unit is one document of a file.
type unit struct {
	kind   documentKind
	file   *parsedFile
	meta   Meta
	index  int     // of the document in its file
	at     pointer // inside that document: items of a List
	broken bool    // its own diagnostics say why; what follows is not set

	cluster    *Cluster
	ignore     []string // with cluster
	subnet     *Subnet
	masquerade *bool // with subnet
	node       *Node
	pod        *Pod
	draft      *serviceDraft
	slices     []*EndpointSlice // one for an EndpointSlice document

	// settled is what the Cluster made of the document, for clusters with
	// the key settledFor.
	settled    *settled
	settledFor string
	selection  *selection // with draft
	gone       bool       // its file is no longer what it was
	counted    bool       // the memo has it
	// found caches places that diagnostics across documents asked for.
	found map[pointer]located
}

// object names the document in messages.
func (u *unit) object() string {
	name := u.meta.Name.Name
	if u.kind.namespaced {
		name = u.meta.Name.String()
	}
	return strings.TrimSpace(u.kind.name + " " + name)
}

// parsedFile is what a file says by itself.
type parsedFile struct {
	path        string
	content     []byte
	units       []*unit
	foreign     []foreignKind
	diagnostics Diagnostics
	harmless    map[harmlessKey]*harmlessFound
}

// noisy reports whether the file has anything to say but its documents.
func (f *parsedFile) noisy() bool {
	return len(f.foreign)+len(f.diagnostics)+len(f.harmless) > 0
}

// harmlessKey is a field name, for which there is one warning a tree.
type harmlessKey struct{ name, reason string }

// harmlessFound is where it was found.
type harmlessFound struct {
	first Diagnostic
	count int
}

// text is the warning for a field that was found that often.
func (k harmlessKey) text(count int) string {
	text := "field " + k.name + " has no effect here"
	if k.reason != "" {
		text += ": " + k.reason
	}
	if count > 1 {
		text += " (" + itoa(count) + " times in the tree, this is the first)"
	}
	return text
}
