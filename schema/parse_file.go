package schema

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// fileParser parses one file.
type fileParser struct {
	*Parser
	file *parsedFile
}

// parseFile fills in what a file says. It never fails: what is wrong is in
// the diagnostics. Several files may be parsed at a time.
func (p *Parser) parseFile(file *parsedFile) {
	f := fileParser{p, file}
	documents, errs := readDocuments(file)
	for _, e := range errs {
		file.diagnostics = append(file.diagnostics, f.diagnostic(Error, e.position, e.message))
	}
	for i, n := range documents {
		f.document(n, i, "")
	}
}

// readDocuments reads a file in the syntax that its name says.
func readDocuments(file *parsedFile) ([]*node, []syntaxError) {
	if strings.HasSuffix(file.path, ".json") {
		return readJSON(file.content)
	}
	return readYAML(file.content)
}

func (f *fileParser) diagnostic(s Severity, at position, message string) Diagnostic {
	d := Diagnostic{Severity: s, File: f.file.path, Line: at.line, Column: at.column, Width: max(at.width, 1), Message: message}
	if at.line > 0 {
		d.Source = sourceLine(f.file.content, at.line)
	}
	return d
}

// document parses one document, or the items of a List.
func (f *fileParser) document(n *node, index int, at pointer) {
	k, ok := f.kind(n)
	if !ok {
		return
	}
	u := &unit{kind: k, file: f.file, index: index, at: at}
	u.meta = metaOf(metadata{Name: n.get("metadata").string("name"), Namespace: n.get("metadata").string("namespace")}, k, f.file.path, n)
	if k.name != "List" {
		f.file.units = append(f.file.units, u)
	}
	var walk fieldWalk
	walk.walk(n, f.fields[k.name], "", "")
	findings := append(f.validator.validate(k.name, n), walk.findings...)
	if n.damaged {
		findings = slices.DeleteFunc(findings, func(x finding) bool { return x.missing })
	}
	f.addFindings(u, n, Error, findings)
	f.addHarmless(u, n, walk.harmless)
	u.broken = n.damaged || len(findings) > 0
	switch {
	case u.broken:
	case k.name == "List":
		for i, item := range n.get("items").items {
			f.document(item, index, at.field("items").item(i))
		}
	default:
		f.convert(u, n)
	}
}

// kind finds out what a document is. Those of foreign kinds are set aside:
// the Cluster says whether they are ignored.
func (f *fileParser) kind(n *node) (documentKind, bool) {
	if n.kind != kindMapping {
		f.refuse(n, "a document is a map with apiVersion and kind, but this is "+n.kind.String())
		return documentKind{}, false
	}
	apiVersion, kind := n.string("apiVersion"), n.string("kind")
	if apiVersion == "" && kind == "" && isKustomization(f.file.path) {
		apiVersion, kind = "kustomize.config.k8s.io/v1beta1", "Kustomization"
	}
	if missing := cmp.Or(missingName("apiVersion", apiVersion), missingName("kind", kind)); missing != "" {
		if !n.damaged {
			f.refuse(n, missing)
		}
		return documentKind{}, false
	}
	k, ok := kindOf(apiVersion, kind)
	if !ok {
		d := f.diagnostic(Error, n.key("kind").orElse(n).position(), explainKind(apiVersion, kind))
		d.Object = strings.TrimSpace(kind + " " + n.get("metadata").string("name"))
		f.file.foreign = append(f.file.foreign, foreignKind{apiVersion, kind, d})
	}
	return k, ok
}

func (f *fileParser) refuse(n *node, message string) {
	f.file.diagnostics = append(f.file.diagnostics, f.diagnostic(Error, n.position(), message))
}

func missingName(name, value string) string {
	if value != "" {
		return ""
	}
	return fmt.Sprintf("field %q is missing", name)
}

// isKustomization tells kustomize's own file, in which apiVersion and kind
// may be left out.
func isKustomization(file string) bool {
	base := path.Base(file)
	return base == "kustomization.yaml" || base == "kustomization.yml"
}

// orElse is n, or the other if n is nil.
func (n *node) orElse(other *node) *node {
	if n == nil {
		return other
	}
	return n
}

func (f *fileParser) addFindings(u *unit, n *node, s Severity, findings []finding) {
	for _, x := range findings {
		l := locate(n, x)
		d := f.diagnostic(s, l.position, x.message)
		d.Object, d.Path = u.object(), l.path
		f.file.diagnostics = append(f.file.diagnostics, d)
	}
}

// located is where a finding is, for people.
type located struct {
	position
	path   string
	source string
}

// locate finds the place of a finding in its document.
func locate(n *node, x finding) located {
	l := located{position: n.find(x.at)}
	about := x.at
	if x.onKey {
		parts := x.at.parts()
		about = pointer("").field(parts[:len(parts)-1]...)
		if key := n.at(about).key(parts[len(parts)-1]); key != nil {
			l.position = key.position()
		}
	}
	l.path = about.path(n)
	return l
}

func (f *fileParser) addHarmless(u *unit, n *node, uses []harmlessUse) {
	for _, use := range uses {
		key := harmlessKey{use.name, use.reason}
		if found := f.file.harmless[key]; found != nil {
			found.count++
			continue
		}
		l := locate(n, finding{at: use.at})
		if k := n.at(parentOf(use.at)).key(lastOf(use.at)); k != nil {
			l.position = k.position()
		}
		d := f.diagnostic(Warning, l.position, "")
		d.Object, d.Path = u.object(), l.path
		if f.file.harmless == nil {
			f.file.harmless = map[harmlessKey]*harmlessFound{}
		}
		f.file.harmless[key] = &harmlessFound{d, 1}
	}
}

func parentOf(p pointer) pointer { return p[:strings.LastIndexByte(string(p), '/')] }

func lastOf(p pointer) string {
	parts := p.parts()
	return parts[len(parts)-1]
}

// convert makes the typed document. The schema has accepted it.
func (f *fileParser) convert(u *unit, n *node) {
	c := &conversion{root: n}
	if err := f.convertKind(c, u, n); err != nil {
		c.findings = append(c.findings, finding{message: err.Error()})
	}
	f.addFindings(u, n, Error, c.findings)
	f.addFindings(u, n, Warning, c.warnings)
	u.broken = len(c.findings) > 0
}

func (f *fileParser) convertKind(c *conversion, u *unit, n *node) error {
	var head struct {
		Metadata metadata `json:"metadata"`
	}
	if err := f.decoder.decode(n, &head); err != nil {
		return err
	}
	u.meta = metaOf(head.Metadata, u.kind, f.file.path, n)
	c.meta = u.meta
	switch u.kind.name {
	case "Cluster":
		return decoded(f, n, newClusterDocument(), func(d *clusterDocument) { u.cluster, u.ignore = c.cluster(d), d.Spec.IgnoreKinds })
	case "Subnet":
		return decoded(f, n, &subnetDocument{}, func(d *subnetDocument) { u.subnet, u.masquerade = c.subnet(d) })
	case "Node":
		return decoded(f, n, &nodeDocument{}, func(d *nodeDocument) { u.node = c.node(d) })
	case "Pod":
		return decoded(f, n, &podDocument{}, func(d *podDocument) { u.pod = c.pod(d) })
	case "Service":
		return decoded(f, n, &serviceDocument{}, func(d *serviceDocument) { u.draft = c.draft(d) })
	case "EndpointSlice":
		return decoded(f, n, &sliceDocument{}, func(d *sliceDocument) { u.slices = []*EndpointSlice{c.slice(d)} })
	case "Endpoints":
		c.warn("/kind", "Endpoints is deprecated; write an EndpointSlice (discovery.k8s.io/v1)")
		return decoded(f, n, &endpointsDocument{}, func(d *endpointsDocument) { u.slices = c.endpoints(d) })
	}
	return nil
}

// decoded fills a document and hands it on if that went well.
func decoded[T any](f *fileParser, n *node, document *T, use func(*T)) error {
	if err := f.decoder.decode(n, document); err != nil {
		return err
	}
	use(document)
	return nil
}
