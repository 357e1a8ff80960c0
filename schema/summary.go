package schema

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Counts is how much of what is in a tree. It is there also where the
// documents are refused.
type Counts struct {
	Files     int            `json:"files"`
	Documents int            `json:"documents"`
	ByKind    map[string]int `json:"byKind"`
	Ignored   map[string]int `json:"ignored"`
	Automatic int            `json:"automatic"`
}

// Summary is the line that closes a validation.
func (c Counts) Summary(d Diagnostics) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s", plural(c.Files, "file"), plural(c.Documents, "document"))
	if len(c.ByKind) > 0 {
		kinds := slices.SortedFunc(maps.Keys(c.ByKind), func(x, y string) int {
			return cmp.Or(cmp.Compare(c.ByKind[y], c.ByKind[x]), cmp.Compare(x, y))
		})
		for i, kind := range kinds {
			kinds[i] = fmt.Sprintf("%d %s", c.ByKind[kind], kind)
		}
		fmt.Fprintf(&b, " (%s)", strings.Join(kinds, ", "))
	}
	if len(c.Ignored) > 0 {
		total := 0
		for _, n := range c.Ignored {
			total += n
		}
		fmt.Fprintf(&b, ", %d ignored (%s)", total, strings.Join(slices.Sorted(maps.Keys(c.Ignored)), ", "))
	}
	fmt.Fprintf(&b, ": %s, %s.", plural(d.Errors(), "error"), plural(d.Warnings(), "warning"))
	switch {
	case c.Automatic == 1:
		b.WriteString(" 1 address automatic: `poplin allocate` pins it.")
	case c.Automatic > 1:
		fmt.Fprintf(&b, " %d addresses automatic: `poplin allocate` pins them.", c.Automatic)
	}
	return b.String()
}

// plural is a number with its noun.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
