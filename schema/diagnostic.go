package schema

import (
	"cmp"
	"slices"
)

// Severity says whether a diagnostic refuses the revision.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the revision is refused
	Warning Severity = "warning" // the revision is accepted
)

// Diagnostic is one finding in the documents: of the syntax, the schema, or
// a rule across documents.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file"`             // path below the root, with slashes; "" for the tree as a whole
	Line     int      `json:"line"`             // from 1; 0: the file as a whole
	Column   int      `json:"column"`           // from 1, in characters
	Width    int      `json:"width"`            // characters to underline, at least 1
	Object   string   `json:"object,omitempty"` // "Service default/web"
	Path     string   `json:"path,omitempty"`   // "spec.ports[0]"
	Message  string   `json:"message"`
	Source   string   `json:"source,omitempty"` // the line of the file, as it is
}

// Diagnostics is a list of findings, sorted by place.
type Diagnostics []Diagnostic

// Errors counts the errors.
func (d Diagnostics) Errors() int { return d.count(Error) }

// Warnings counts the warnings.
func (d Diagnostics) Warnings() int { return d.count(Warning) }

func (d Diagnostics) count(s Severity) int {
	n := 0
	for i := range d {
		if d[i].Severity == s {
			n++
		}
	}
	return n
}

// sorted orders the diagnostics by place and drops those that say the same
// of the same place twice.
func (d Diagnostics) sorted() Diagnostics {
	slices.SortStableFunc(d, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(d)
}
