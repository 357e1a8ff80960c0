package schema

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
)

// Parser parses trees. It remembers what it made of each file, so that a
// tree that differs in one file from the one before costs one file, and the
// documents of all others stay the same pointers. It is not for concurrent
// use.
type Parser struct {
	validator *validator
	fields    map[string]*field
	decoder   *decoder
	files     map[string]*parsedFile
	sorted    [5][]*unit // the documents of the last tree, by kind
	counts    Counts
}

// Counts says what was in the tree that was parsed last, also if it was
// refused.
func (p *Parser) Counts() Counts { return p.counts }

// NewParser compiles the schema. It fails only if the schema that is built
// in is wrong.
func NewParser() (*Parser, error) {
	v, err := newValidator()
	if err != nil {
		return nil, err
	}
	p := &Parser{validator: v, fields: map[string]*field{}, decoder: newDecoder()}
	for _, k := range documentKinds {
		p.fields[k.name] = v.fieldsOf(k.name)
	}
	return p, nil
}

// Parse reads a tree. The Config is nil if one of the diagnostics is an
// error; the diagnostics are all there are, sorted by place. A Config and
// what it holds must not be changed: the next one shares it.
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
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	t := &tree{parser: p, contents: make(map[string][]byte, len(files))}
	for _, option := range options {
		option(t)
	}
	known := make(map[string]*parsedFile, len(files))
	digest := sha256.New()
	for _, f := range sorted {
		hash := sha256.Sum256(f.Content)
		length := binary.BigEndian.AppendUint64(nil, uint64(len(f.Path)))
		digest.Write(append(append(length, f.Path...), hash[:]...))
		parsed := p.files[f.Path]
		if parsed == nil || parsed.hash != hash {
			parsed = p.parseFile(f, hash)
		}
		known[f.Path] = parsed
		t.files = append(t.files, parsed)
		t.contents[f.Path] = f.Content
	}
	p.files = known
	config := t.config()
	config.Digest = "sha256:" + hex.EncodeToString(digest.Sum(nil))
	config.Files = len(files)
	p.counts = Counts{config.Files, config.Documents, config.ByKind, config.Ignored, config.Automatic}
	return t
}

// tree is one call of Parse.
type tree struct {
	parser      *Parser
	files       []*parsedFile
	contents    map[string][]byte
	texts       map[string][]*node // of files that diagnostics asked for
	diagnostics Diagnostics
	units       []*unit // all that are not broken
	// The units of each kind, sorted by namespace and name.
	nodes, subnets, pods, services, slices []*unit
	broken                                 int // documents and files with errors of their own
	cluster                                *unit
	result                                 *Config
	allocating                             bool // clashes of automatic addresses are about to be settled
}

// report adds a finding about a document. Where it stands is looked up in
// the file's text only now, and remembered: keeping every node of every
// file would cost far more than the documents themselves.
func (t *tree) report(s Severity, u *unit, x finding) {
	l, ok := u.found[x.at]
	if !ok {
		l = t.locate(u, x)
		if u.found == nil {
			u.found = map[pointer]located{}
		}
		u.found[x.at] = l
	}
	t.diagnostics = append(t.diagnostics, Diagnostic{
		Severity: s, File: u.meta.Place.File, Line: l.line, Column: l.column, Width: max(l.width, 1),
		Object: u.object(), Path: l.path, Message: x.message, Source: l.source,
	})
}

func (t *tree) locate(u *unit, x finding) located {
	l := locate(t.document(u), x)
	l.source = sourceLine(t.contents[u.meta.Place.File], l.line)
	return l
}

// document reads the text of a document again.
func (t *tree) document(u *unit) *node {
	file := u.meta.Place.File
	nodes, ok := t.texts[file]
	if !ok {
		nodes, _ = readDocuments(File{file, t.contents[file]})
		if t.texts == nil {
			t.texts = map[string][]*node{}
		}
		t.texts[file] = nodes
	}
	return nodes[u.index].at(u.at)
}

// fromFiles takes over what the files say by themselves.
func (t *tree) fromFiles() {
	harmless := map[harmlessKey]*harmlessFound{}
	for _, f := range t.files {
		t.diagnostics = append(t.diagnostics, f.diagnostics...)
		if f.diagnostics.Errors() > 0 {
			t.broken++
		}
		for _, u := range f.units {
			t.result.ByKind[u.kind.name]++
			t.result.Documents++
			if !u.broken {
				t.units = append(t.units, u)
			}
		}
		for key, found := range f.harmless {
			if h := harmless[key]; h != nil {
				h.count += found.count
			} else {
				harmless[key] = &harmlessFound{found.first, found.count}
			}
		}
	}
	for key, h := range harmless {
		h.first.Message = harmlessText(key, h.count)
		t.diagnostics = append(t.diagnostics, h.first)
	}
}

func harmlessText(key harmlessKey, count int) string {
	text := "field " + key.name + " has no effect here"
	if key.reason != "" {
		text += ": " + key.reason
	}
	if count > 1 {
		text += " (" + itoa(count) + " times in the tree, this is the first)"
	}
	return text
}

// config assembles the Config, running all rules on the way.
func (t *tree) config() *Config {
	c := &Config{ByKind: map[string]int{}, Ignored: map[string]int{}}
	t.result = c
	t.fromFiles()
	t.findCluster()
	t.ignore()
	t.settle()
	t.duplicates()
	if t.cluster == nil {
		return c
	}
	t.group()
	t.collect()
	t.rules()
	return c
}

// findCluster looks for the one Cluster.
func (t *tree) findCluster() {
	broken := false
	for _, f := range t.files {
		for _, u := range f.units {
			broken = broken || u.broken && u.kind.name == "Cluster"
		}
	}
	for _, u := range t.units {
		if u.cluster == nil {
			continue
		}
		if t.cluster != nil {
			t.report(Error, u, finding{at: "/kind", message: "a second Cluster; the first is at " + t.cluster.meta.Place.String()})
			continue
		}
		t.cluster = u
		t.result.Cluster = u.cluster
	}
	if t.cluster == nil && !broken {
		message := "no document of kind Cluster; a tree has exactly one"
		if t.broken > 0 {
			message = "no document of kind Cluster in the files that could be read; a tree has exactly one"
		}
		t.diagnostics = append(t.diagnostics, Diagnostic{Severity: Error, Message: message})
	}
}

// ignore sorts out the documents of foreign kinds.
func (t *tree) ignore() {
	patterns := slices.Clone(alwaysIgnored)
	if t.cluster != nil {
		patterns = append(patterns, t.cluster.ignore...)
	}
	for _, f := range t.files {
		for _, foreign := range f.foreign {
			if foreign.ignoredBy(patterns) {
				t.result.Ignored[foreign.kind]++
			} else {
				t.diagnostics = append(t.diagnostics, foreign.diagnostic)
			}
		}
	}
}

// settle completes every document by what the Cluster says.
func (t *tree) settle() {
	if t.cluster == nil {
		return
	}
	key := clusterKey(t.cluster.cluster)
	for _, u := range t.units {
		for _, x := range u.settle(t.cluster.cluster, key).findings {
			t.report(Error, u, x)
		}
	}
}

// duplicates refuses two documents of one kind and name.
func (t *tree) duplicates() {
	type identity struct {
		kind string
		name Name
	}
	seen := make(map[identity]*unit, len(t.units))
	once := t.units[:0]
	for _, u := range t.units {
		if u.kind.name == "Cluster" && u != t.cluster {
			continue // said already
		}
		id := identity{u.kind.name, u.meta.Name}
		if first := seen[id]; first != nil {
			t.report(Error, u, finding{at: "/metadata/name", message: u.object() + " is there twice; the first is at " + first.meta.Place.String()})
			continue
		}
		seen[id] = u
		once = append(once, u)
	}
	t.units = once
}

// group sorts the documents by kind, and within a kind by name.
func (t *tree) group() {
	for _, u := range t.units {
		switch {
		case u.pod != nil:
			t.pods = append(t.pods, u)
		case u.kind.name == "EndpointSlice" || u.kind.name == "Endpoints":
			t.slices = append(t.slices, u)
		case u.subnet != nil:
			t.subnets = append(t.subnets, u)
		case u.node != nil:
			t.nodes = append(t.nodes, u)
		case u.draft != nil:
			t.services = append(t.services, u)
		}
	}
	p := t.parser
	for i, list := range []*[]*unit{&t.pods, &t.slices, &t.subnets, &t.nodes, &t.services} {
		*list = sortUnits(p.sorted[i], *list)
		p.sorted[i] = *list
	}
}

// collect puts the documents into the Config.
func (t *tree) collect() {
	c := t.result
	for _, u := range t.pods {
		c.Pods = append(c.Pods, u.pod)
	}
	for _, u := range t.slices {
		c.Slices = append(c.Slices, u.slices...)
	}
	for _, u := range t.subnets {
		c.Subnets = append(c.Subnets, u.settled.subnet)
	}
	for _, u := range t.nodes {
		c.Nodes = append(c.Nodes, u.settled.node)
	}
	for _, u := range t.services {
		c.Services = append(c.Services, u.settled.service.service)
		c.Automatic += u.settled.service.automatic()
	}
	// The slices of an Endpoints document have longer names than it has.
	byName := func(a, b *EndpointSlice) int { return a.Name.Compare(b.Name) }
	if !slices.IsSortedFunc(c.Slices, byName) {
		slices.SortFunc(c.Slices, byName)
	}
}
