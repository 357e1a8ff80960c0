package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// readJSON parses a file with one JSON value, or several one after another,
// under the limits and with the strictness of readYAML.
func readJSON(content []byte) (documents []*node, errs []syntaxError) {
	if err := checkText(content); err != nil {
		return nil, []syntaxError{*err}
	}
	r := jsonReader{content: content, decoder: json.NewDecoder(bytes.NewReader(content)), line: 1, column: 1, budget: maxNodes}
	r.decoder.UseNumber()
	for {
		before := len(r.errs)
		n, err := r.value(1)
		if errors.Is(err, io.EOF) {
			return documents, r.errs
		}
		if err != nil {
			at := position{r.line, r.column, 1}
			if last := lastText(content); at.line > last.line {
				at = last
			}
			return documents, append(r.errs, syntaxError{at, explainJSON(err)})
		}
		if n.kind != kindNull {
			n.damaged = len(r.errs) > before
			documents = append(documents, n)
		}
	}
}

func explainJSON(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the file ends inside a JSON value"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// jsonReader makes nodes of tokens. The standard decoder checks the syntax;
// places are counted here.
type jsonReader struct {
	content      []byte
	decoder      *json.Decoder
	at           int // offset that line and column belong to
	line, column int
	budget       int
	errs         []syntaxError
}

// moveTo counts lines and columns up to an offset.
func (r *jsonReader) moveTo(offset int) {
	for r.at < offset && r.at < len(r.content) {
		c, size := utf8.DecodeRune(r.content[r.at:])
		r.at += size
		r.column++
		if c == '\n' {
			r.line, r.column = r.line+1, 1
		}
	}
}

// token reads one token; the position is then that of its start.
func (r *jsonReader) token() (json.Token, position, error) {
	offset := int(r.decoder.InputOffset())
	for offset < len(r.content) && strings.IndexByte(" \t\r\n,:", r.content[offset]) >= 0 {
		offset++
	}
	r.moveTo(offset)
	token, err := r.decoder.Token()
	if err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			r.moveTo(int(syntax.Offset) - 1)
		}
		return nil, position{}, err
	}
	end := min(int(r.decoder.InputOffset()), len(r.content))
	return token, position{r.line, r.column, max(1, utf8.RuneCount(r.content[r.at:max(r.at, end)]))}, nil
}

// value reads one value. io.EOF means that there is none.
func (r *jsonReader) value(depth int) (*node, error) {
	token, at, err := r.token()
	if err != nil {
		return nil, err
	}
	return r.valueOf(token, at, depth)
}

func (r *jsonReader) valueOf(token json.Token, at position, depth int) (*node, error) {
	r.budget--
	if r.budget < 0 {
		return nil, fmt.Errorf("more than %d values", maxNodes)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	n := &node{line: at.line, column: at.column, width: at.width}
	switch v := token.(type) {
	case nil:
		n.kind, n.text = kindNull, "null"
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(v)
	case string:
		n.kind, n.text = kindString, v
	case json.Number:
		n.kind, n.text = kindInt, v.String()
		if strings.ContainsAny(n.text, ".eE") {
			n.kind = kindFloat
		}
	case json.Delim:
		n.flow, n.width = true, 1
		if v == '[' {
			n.kind = kindSequence
			return n, r.elements(n, depth)
		}
		n.kind = kindMapping
		return n, r.fields(n, depth)
	}
	return n, nil
}

func (r *jsonReader) elements(n *node, depth int) error {
	for r.decoder.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return inside(err)
		}
		n.items = append(n.items, item)
	}
	_, _, err := r.token()
	return inside(err)
}

func (r *jsonReader) fields(n *node, depth int) error {
	seen := map[string]int{}
	for r.decoder.More() {
		token, at, err := r.token()
		if err != nil {
			return inside(err)
		}
		key, _ := token.(string)
		value, err := r.value(depth + 1)
		if err != nil {
			return inside(err)
		}
		if first, ok := seen[key]; ok {
			r.errs = append(r.errs, syntaxError{at, fmt.Sprintf("field %q is here twice; it stands in line %d already", key, first)})
			continue
		}
		seen[key] = at.line
		n.keys = append(n.keys, &node{kind: kindString, text: key, line: at.line, column: at.column, width: at.width})
		n.items = append(n.items, value)
	}
	_, _, err := r.token()
	return inside(err)
}

// inside tells the end of the file inside a value from that after one.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
