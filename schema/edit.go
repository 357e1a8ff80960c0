package schema

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// edit replaces some bytes of a file.
type edit struct {
	owner          *unit
	offset, remove int
	text           string
}

// errShared is for values that an alias makes part of several documents.
var errShared = errors.New("an anchor and alias make one value part of several documents; write it out")

// applyEdits changes a text. One document may have several fields put at one
// place; of two documents that can only come from an alias: they share what
// is written there.
func applyEdits(content []byte, edits []edit) ([]byte, error) {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.offset, b.offset) })
	var out []byte
	at := 0
	for i, e := range edits {
		if i > 0 && e.offset < edits[i-1].offset+max(edits[i-1].remove, 1) {
			insertions := e.offset == edits[i-1].offset && e.remove == 0 && edits[i-1].remove == 0
			if !insertions || e.owner != edits[i-1].owner {
				return nil, errShared
			}
		}
		out = append(append(out, content[at:e.offset]...), e.text...)
		at = e.offset + e.remove
	}
	return append(out, content[at:]...), nil
}

// editor makes edits that set fields in the text of one file, and leave
// comments and order as they are.
type editor struct {
	content []byte
	json    bool
	owner   *unit // the document that is being edited
	edits   []edit
}

// offset is the byte of a place.
func (e *editor) offset(line, column int) int {
	at := 0
	for ; line > 1; line-- {
		next := bytes.IndexByte(e.content[at:], '\n')
		if next < 0 {
			return len(e.content)
		}
		at += next + 1
	}
	for ; column > 1 && at < len(e.content); column-- {
		_, width := utf8.DecodeRune(e.content[at:])
		at += width
	}
	return at
}

// newline is what ends the file's lines.
func (e *editor) newline() string {
	if bytes.Contains(e.content, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

func (e *editor) field(name, value string) string {
	if e.json {
		return fmt.Sprintf("%q: %s", name, value)
	}
	return name + ": " + value
}

// set gives a field of a map a scalar or flow value. An existing value, which
// is empty or zero, is replaced; else the field is added, in a block after
// the field named after, or first.
func (e *editor) set(m *node, name, value, after string) error {
	if key := m.key(name); key != nil {
		return e.replace(m, key, value)
	}
	if m.flow {
		brace := e.offset(m.line, m.column)
		open := bytes.IndexByte(e.content[brace:], '{')
		if open < 0 {
			return fmt.Errorf("line %d: no { found", m.line)
		}
		text := e.field(name, value)
		if len(m.keys) > 0 {
			text += ", "
		}
		e.edits = append(e.edits, edit{owner: e.owner, offset: brace + open + 1, text: text})
		return nil
	}
	if key := m.key(after); key != nil {
		return e.insertAfter(key, name, value)
	}
	if len(m.keys) == 0 {
		return fmt.Errorf("line %d: the map is empty", m.line)
	}
	first := m.keys[0]
	start := e.offset(first.line, 1)
	indent := string(e.content[start:e.offset(first.line, first.column)])
	if strings.Trim(indent, " ") != "" {
		return e.insertAfter(first, name, value)
	}
	e.edits = append(e.edits, edit{owner: e.owner, offset: start, text: indent + e.field(name, value) + e.newline()})
	return nil
}

// insertAfter adds a line below that of a field whose value is on it.
func (e *editor) insertAfter(key *node, name, value string) error {
	at := e.offset(key.line, key.column)
	end := bytes.IndexByte(e.content[at:], '\n')
	text := strings.Repeat(" ", key.column-1) + e.field(name, value)
	if end < 0 {
		e.edits = append(e.edits, edit{owner: e.owner, offset: len(e.content), text: e.newline() + text})
		return nil
	}
	e.edits = append(e.edits, edit{owner: e.owner, offset: at + end + 1, text: text + e.newline()})
	return nil
}

// replace writes over the empty value of a field.
func (e *editor) replace(m, key *node, value string) error {
	old := m.items[slices.Index(m.keys, key)]
	at := e.offset(old.line, old.column)
	if old.kind == kindNull && old.text == "" {
		at = e.offset(key.line, key.column)
		colon := bytes.IndexByte(e.content[at:], ':')
		if colon < 0 {
			return fmt.Errorf("line %d: no : found", key.line)
		}
		e.edits = append(e.edits, edit{owner: e.owner, offset: at + colon + 1, text: " " + value})
		return nil
	}
	if old.kind == kindSequence && len(old.items) == 0 {
		end := bytes.IndexByte(e.content[at:], ']')
		if end < 0 {
			return fmt.Errorf("line %d: no ] found", key.line)
		}
		e.edits = append(e.edits, edit{owner: e.owner, offset: at, remove: end + 1, text: value})
		return nil
	}
	if old.kind == kindSequence {
		return e.appendItem(old, value)
	}
	width := e.offset(old.line, old.column+old.width) - at
	e.edits = append(e.edits, edit{owner: e.owner, offset: at, remove: width, text: value})
	return nil
}

// appendItem adds a scalar behind the last one of a list.
func (e *editor) appendItem(list *node, value string) error {
	last := list.items[len(list.items)-1]
	end := e.offset(last.line, last.column+last.width)
	if list.flow {
		e.edits = append(e.edits, edit{owner: e.owner, offset: end, text: ", " + value})
		return nil
	}
	text := e.newline() + strings.Repeat(" ", list.column-1) + "- " + value
	if rest := bytes.IndexByte(e.content[end:], '\n'); rest >= 0 {
		end += len(bytes.TrimRight(e.content[end:end+rest], "\r"))
	} else {
		end = len(e.content)
	}
	e.edits = append(e.edits, edit{owner: e.owner, offset: end, text: text})
	return nil
}
