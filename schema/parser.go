package schema

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Parser parses trees. It remembers what it made of each file, so that a
// tree that differs in one file from the one before costs one file, and the
// documents of all others stay the same pointers. It is not for concurrent
// use.
type Parser struct {
	validator *validator
	fields    map[string]*field
	decoder   *decoder
	files     []*parsedFile // of the last tree, sorted by path
	given     []File        // what they were made of, in the same order
	index     *index
	counts    Counts
}

// NewParser compiles the schema. It fails only if the schema that is built
// in is wrong.
func NewParser() (*Parser, error) {
	v, err := newValidator()
	if err != nil {
		return nil, err
	}
	p := &Parser{validator: v, fields: map[string]*field{}, decoder: newDecoder(), index: newIndex()}
	for _, k := range documentKinds {
		p.fields[k.name] = v.fieldsOf(k.name)
	}
	return p, nil
}

// Counts says what was in the tree that was parsed last, also if it was
// refused.
func (p *Parser) Counts() Counts { return p.counts }

// Parse reads a tree. The Config is nil if one of the diagnostics is an
// error; the diagnostics are all there are, sorted by place. A Config and
// what it holds must not be changed: the next one shares it. Contents of
// files are kept, and must not be changed either.
func (p *Parser) Parse(files []File) (*Config, Diagnostics) {
	t := p.tree(files)
	diagnostics := t.diagnostics.sorted()
	if diagnostics.Errors() > 0 {
		return nil, diagnostics
	}
	return t.result, diagnostics
}

// tree reads a tree; options change what is reported.
func (p *Parser) tree(files []File, options ...func(*tree)) *tree {
	t := &tree{parser: p, result: &Config{Ignored: map[string]int{}}}
	for _, option := range options {
		option(t)
	}
	p.update(files)
	t.files = p.files
	t.check()
	c := t.result
	c.Files, c.Documents, c.ByKind = len(files), p.index.documents, map[string]int{}
	for kind, n := range p.index.byKind {
		c.ByKind[kind] = n
	}
	p.counts = Counts{c.Files, c.Documents, c.ByKind, c.Ignored, c.Automatic}
	return t
}

// update brings files and index to a new tree. Most often a few files among
// many differ: those at the beginning and at the end that are the very same
// are passed over.
func (p *Parser) update(files []File) {
	byPath := func(a, b File) int { return strings.Compare(a.Path, b.Path) }
	head, tail := commonEnds(p.given, files)
	if differ := files[max(head-1, 0):min(len(files)-tail+1, len(files))]; !slices.IsSortedFunc(differ, byPath) {
		files = slices.Clone(files)
		slices.SortStableFunc(files, byPath)
		head, tail = 0, 0
	}
	before := p.files[head : len(p.files)-tail]
	after := make([]*parsedFile, 0, len(files)-head-tail)
	var gone, added []*parsedFile
	for _, f := range files[head : len(files)-tail] {
		for len(before) > 0 && before[0].path < f.Path {
			gone, before = append(gone, before[0]), before[1:]
		}
		if len(before) > 0 && before[0].path == f.Path {
			old := before[0]
			before = before[1:]
			if old.same(f) {
				after = append(after, old)
				continue
			}
			gone = append(gone, old)
		}
		fresh := &parsedFile{path: f.Path, content: f.Content}
		after, added = append(after, fresh), append(added, fresh)
	}
	gone = append(gone, before...)
	p.parseFiles(added)
	p.index.update(gone, added)
	p.files = slices.Replace(p.files, head, len(p.files)-tail, after...)
	p.given = append(p.given[:0], files...)
}

// commonEnds counts the files at the beginning and at the end of two lists
// that are the same without a look at what they hold.
func commonEnds(a, b []File) (head, tail int) {
	n := min(len(a), len(b))
	for head < n && identical(a[head], b[head]) {
		head++
	}
	for tail < n-head && identical(a[len(a)-1-tail], b[len(b)-1-tail]) {
		tail++
	}
	return head, tail
}

func identical(a, b File) bool {
	return a.Path == b.Path && len(a.Content) == len(b.Content) && (len(a.Content) == 0 || &a.Content[0] == &b.Content[0])
}

// same reports whether the file is the one that was parsed. Comparing costs
// nothing where the content is the same slice.
func (f *parsedFile) same(g File) bool { return bytes.Equal(f.content, g.Content) }

// parseFiles parses files, several at a time.
func (p *Parser) parseFiles(files []*parsedFile) {
	workers := min(runtime.GOMAXPROCS(0), len(files))
	if workers <= 1 {
		for _, f := range files {
			p.parseFile(f)
		}
		return
	}
	next := make(chan *parsedFile)
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for f := range next {
				p.parseFile(f)
			}
		})
	}
	for _, f := range files {
		next <- f
	}
	close(next)
	wait.Wait()
}
