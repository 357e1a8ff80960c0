package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// writePlan prints a plan, grouped by what asks for each operation.
func writePlan(w io.Writer, p api.Plan, verbose bool) error {
	for _, n := range p.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	if p.HeldBack != "" {
		fmt.Fprintf(w, "held back: %s; `poplin ack %s` lets it through\n", p.HeldBack, p.Revision)
	}
	for _, c := range p.Conflicts {
		fmt.Fprintf(w, "conflict: %s: %s\n", c.What, c.Remedy)
	}
	if len(p.Operations) == 0 {
		_, err := fmt.Fprintf(w, "No differences. This host matches %s.\n", p.Revision)
		return err
	}
	fmt.Fprintf(w, "plan · %s · %s", p.Node, p.Revision)
	if p.From != "" && p.From != p.Revision {
		fmt.Fprintf(w, " (from %s)", p.From)
	}
	if p.Read > 0 {
		fmt.Fprintf(w, " · kernel read in %s", p.Read.Round(100*time.Microsecond))
	}
	fmt.Fprintln(w)
	for _, g := range groupOperations(p.Operations) {
		if err := g.write(w, verbose); err != nil {
			return err
		}
	}
	hint := "     -v prints every object"
	if verbose {
		hint = ""
	}
	_, err := fmt.Fprintf(w, "%d to add, %d to change, %d to delete, %d unchanged.%s\n", p.Summary.Add, p.Summary.Change, p.Summary.Delete, p.Summary.Unchanged, hint)
	return err
}

// operationGroup are the operations that one group of objects asks for.
type operationGroup struct {
	name       string
	operations []api.Operation
}

// groupOperations collects operations by group, in the order in which the
// groups first occur.
func groupOperations(list []api.Operation) []*operationGroup {
	var out []*operationGroup
	byName := map[string]*operationGroup{}
	for _, op := range list {
		g := byName[op.Group]
		if g == nil {
			g = &operationGroup{name: op.Group}
			byName[op.Group] = g
			out = append(out, g)
		}
		g.operations = append(g.operations, op)
	}
	return out
}

func (g *operationGroup) write(w io.Writer, verbose bool) error {
	name, removed := g.name, ""
	if name == "" {
		name = "left over"
	}
	origin := g.operations[0].Origin
	if g.removed() {
		removed = " (removed)"
	}
	line := name
	if origin.File != "" {
		line = fmt.Sprintf("%-*s  %s:%d%s", planColumn, name, origin.File, origin.Line, removed)
	}
	lines := []string{line}
	elements := map[string]int{}
	var order []string
	for _, op := range g.operations {
		if !verbose && op.Kind == "element" && len(g.operations) > 4 {
			key := op.Verb + "\t" + op.Cause
			if elements[key]++; elements[key] == 1 {
				order = append(order, key)
			}
			continue
		}
		lines = append(lines, fmt.Sprintf("  %-*s  %s", planColumn-2, operationText(op), op.Cause))
	}
	for _, key := range order {
		verb, cause, _ := strings.Cut(key, "\t")
		text := fmt.Sprintf("%s %d elements", sign(verb), elements[key])
		if elements[key] == 1 {
			text = sign(verb) + " 1 element"
		}
		lines = append(lines, fmt.Sprintf("  %-*s  %s", planColumn-2, text, cause))
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// planColumn is where origins and causes begin, unless a line is longer.
const planColumn = 60

// removed reports whether nothing but deletions is left of a group.
func (g *operationGroup) removed() bool {
	for _, op := range g.operations {
		if op.Verb != "delete" {
			return false
		}
	}
	return true
}

func operationText(op api.Operation) string {
	switch op.Verb {
	case "add":
		return "+ " + op.After
	case "delete":
		return "- " + op.Before
	}
	return "~ " + changeText(op.Before, op.After)
}

// changeText names what changes: the words that both texts begin with, then
// the words before and after.
func changeText(before, after string) string {
	a, b := strings.Fields(before), strings.Fields(after)
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	end := 0
	for end < len(a)-n && end < len(b)-n && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	return fmt.Sprintf("%s %s → %s", strings.Join(a[:n], " "), strings.Join(a[n:len(a)-end], " "), strings.Join(b[n:len(b)-end], " "))
}

func sign(verb string) string {
	return map[string]string{"add": "+", "change": "~", "delete": "-"}[verb]
}
