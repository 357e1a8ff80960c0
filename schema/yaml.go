package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// The limits of one file.
const (
	// MaxFileSize is the size above which a file is refused, in bytes.
	MaxFileSize = 1 << 20
	maxNodes    = 100_000 // after aliases are followed
	maxDepth    = 64
)

// syntaxError is what is wrong with the text of a file.
type syntaxError struct {
	position
	message string
}

// readYAML parses a file to one node for each of its documents, without
// empty ones. It reports everything it refuses; documents are those before
// the first error that the parser cannot go beyond.
func readYAML(content []byte) (documents []*node, errs []syntaxError) {
	if err := checkText(content); err != nil {
		return nil, []syntaxError{*err}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		return nil, []syntaxError{{position{1, 1, 1}, err.Error()}}
	}
	r := yamlReader{budget: maxNodes}
	for {
		var document yaml.Node
		err := loader.Load(&document)
		if errors.Is(err, io.EOF) {
			return documents, r.errs
		}
		if err != nil {
			return documents, append(r.errs, explainSyntax(content, err))
		}
		if document.Kind != yaml.DocumentNode || len(document.Content) == 0 {
			continue
		}
		before := len(r.errs)
		n := r.convert(document.Content[0], 1)
		if n != nil && n.kind != kindNull {
			n.damaged = len(r.errs) > before
			documents = append(documents, n)
		}
		if r.stopped {
			return documents, r.errs
		}
	}
}

// checkText refuses what is no text, or too much of it.
func checkText(content []byte) *syntaxError {
	if len(content) > MaxFileSize {
		return &syntaxError{message: fmt.Sprintf("the file has %d bytes; at most %d (1 MiB) are read", len(content), MaxFileSize)}
	}
	line, column := 1, 1
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRune(content[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return &syntaxError{position{line, column, 1}, "the text is not UTF-8"}
		case r < ' ' && r != '\n' && r != '\t' && r != '\r', r == 0x7f:
			return &syntaxError{position{line, column, 1}, fmt.Sprintf("control character %#02x", r)}
		case r == '\r' && (i+1 == len(content) || content[i+1] != '\n'), r == 0x85, r == 0x2028, r == 0x2029:
			return &syntaxError{position{line, column, 1}, fmt.Sprintf("character %U ends a line to some readers and not to others", r)}
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		i += size
	}
	return nil
}

// explainSyntax turns an error of the YAML library into a place and a
// sentence. Tabs as indentation, the most frequent one, get a clear text.
func explainSyntax(content []byte, err error) syntaxError {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		return syntaxError{position{}, err.Error()}
	}
	at := position{load.Mark.Line, max(load.Mark.Column, 1), 1}
	if last := lastText(content); at.line > last.line {
		// The end of the file says less than where the unfinished thing starts.
		at = last
		if context := load.ContextMark; context.Line > 0 && context.Line <= last.line {
			at = position{context.Line, max(context.Column, 1), 1}
		}
	}
	if at.line > 0 {
		text := sourceLine(content, at.line)
		indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
		if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
			return syntaxError{position{at.line, tab + 1, 1}, "tab used as indentation; YAML allows spaces only"}
		}
	}
	message := load.Message
	if load.ContextMsg != "" {
		message += " " + load.ContextMsg
		if load.ContextMark.Line > 0 && load.ContextMark.Line != at.line {
			message += fmt.Sprintf(" that starts in line %d", load.ContextMark.Line)
		}
	}
	return syntaxError{at, message}
}

// lastText is the place behind the last character that is no space.
func lastText(content []byte) position {
	text := bytes.TrimRight(content, " \t\r\n")
	line := bytes.LastIndexByte(text, '\n') + 1
	return position{1 + bytes.Count(text, []byte("\n")), 1 + utf8.RuneCount(text[line:]), 1}
}

// yamlReader converts the library's nodes to ours and collects what is
// refused.
type yamlReader struct {
	budget  int
	stopped bool // too much: reported, and everything after is left out
	errs    []syntaxError
}

func (r *yamlReader) refuse(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, syntaxError{position{n.Line, n.Column, max(1, scalarWidth(n))}, fmt.Sprintf(format, args...)})
}

// convert returns nil for what is refused.
func (r *yamlReader) convert(n *yaml.Node, depth int) *node {
	if r.stopped {
		return nil
	}
	r.budget--
	if r.budget < 0 || depth > maxDepth {
		r.stopped = true
		if depth > maxDepth {
			r.refuse(n, "nested deeper than %d levels", maxDepth)
		} else {
			r.refuse(n, "more than %d values, aliases followed", maxNodes)
		}
		return nil
	}
	out := &node{line: n.Line, column: n.Column, width: 1, flow: n.Style&yaml.FlowStyle != 0}
	switch n.Kind {
	case yaml.AliasNode:
		return r.convert(n.Alias, depth+1)
	case yaml.SequenceNode:
		out.kind = kindSequence
		for _, item := range n.Content {
			if c := r.convert(item, depth+1); c != nil {
				out.items = append(out.items, c)
			}
		}
	case yaml.MappingNode:
		out.kind = kindMapping
		r.convertMapping(n, out, depth)
	default:
		return r.convertScalar(n, out)
	}
	if tag := n.ShortTag(); tag != "!!map" && tag != "!!seq" {
		r.refuse(n, "tag %s is not supported", tag)
	}
	return out
}

func (r *yamlReader) convertMapping(n *yaml.Node, out *node, depth int) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Tag == "!!merge" {
			r.refuse(key, "merge keys (<<) are not supported; write the fields out")
			continue
		}
		k := r.convert(key, depth+1)
		v := r.convert(n.Content[i+1], depth+1)
		if k == nil || v == nil {
			continue
		}
		if k.kind != kindString {
			r.refuse(n.Content[i], "a field's name must be a string, but this is %s; put it in quotes", k.kind)
			continue
		}
		if first, ok := seen[k.text]; ok {
			r.refuse(n.Content[i], "field %q is here twice; it stands in line %d already", k.text, first)
			continue
		}
		seen[k.text] = k.line
		out.keys, out.items = append(out.keys, k), append(out.items, v)
	}
}

// ambiguousNumber is a number to YAML 1.1 or 1.2 only, or not the same one.
var ambiguousNumber = regexp.MustCompile(`^[-+]?(0[0-9_]+|0o[0-7_]+|0b[01_]+|.*_.*|[0-9]+(:[0-5]?[0-9])+)$`)

// isAmbiguousWord tells words that are booleans to YAML 1.1 and strings to
// YAML 1.2.
func isAmbiguousWord(s string) bool {
	if len(s) > 3 {
		return false
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		return true
	}
	return false
}

func (r *yamlReader) convertScalar(n *yaml.Node, out *node) *node {
	out.text, out.width = n.Value, scalarWidth(n)
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
	if plain && isAmbiguousWord(n.Value) {
		r.refuse(n, "%s is a boolean to some readers of YAML and a string to others; write true, false or %q", n.Value, n.Value)
		return nil
	}
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
		out.kind = kindString
	case "!!null":
		out.kind = kindNull
	case "!!bool":
		out.kind, out.text = kindBool, strings.ToLower(n.Value)
	case "!!int", "!!float":
		return r.convertNumber(n, out, tag)
	default:
		r.refuse(n, "tag %s is not supported", tag)
		return nil
	}
	return out
}

func (r *yamlReader) convertNumber(n *yaml.Node, out *node, tag string) *node {
	if ambiguousNumber.MatchString(n.Value) {
		r.refuse(n, "%s is read differently by YAML 1.1 and 1.2; write a plain decimal number or put it in quotes", n.Value)
		return nil
	}
	out.kind = kindInt
	if tag == "!!float" {
		out.kind = kindFloat
		if strings.HasPrefix(strings.TrimLeft(n.Value, "+-"), ".") && strings.ContainsAny(n.Value, "iInN") {
			r.refuse(n, "%s is no number that JSON has", n.Value)
			return nil
		}
	}
	return out
}

// scalarWidth is how many characters a scalar takes on its first line.
func scalarWidth(n *yaml.Node) int {
	if n.Kind != yaml.ScalarNode {
		return 1
	}
	first, _, _ := strings.Cut(n.Value, "\n")
	width := utf8.RuneCountInString(first)
	switch {
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return width + 2
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return 1
	}
	return width
}
