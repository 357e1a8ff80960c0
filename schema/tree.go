package schema

import (
	"maps"
	"slices"
)

// tree is one call of Parse.
type tree struct {
	parser      *Parser
	files       []*parsedFile
	texts       map[*parsedFile][]*node // of files that diagnostics asked for
	diagnostics Diagnostics
	cluster     *unit
	result      *Config
	allocating  bool // clashes of automatic addresses are about to be settled
	twice       bool // two documents of one kind have one name
	// The documents of each kind that have no errors of their own.
	nodes, subnets, pods, services, slices []*unit
}

// check assembles the Config, running all rules on the way.
func (t *tree) check() {
	t.fromFiles()
	t.findCluster()
	t.ignore()
	t.distinct()
	if t.cluster == nil {
		return
	}
	t.settle()
	t.collect()
	t.rules()
}

// report adds a finding about a document. Where it stands is looked up in
// the file's text only now, and remembered: keeping every node of every
// file would cost far more than the documents themselves.
func (t *tree) report(s Severity, u *unit, x finding) {
	l, ok := u.found[x.at]
	if !ok {
		l = locate(t.document(u), x)
		l.source = sourceLine(u.file.content, l.line)
		if u.found == nil {
			u.found = map[pointer]located{}
		}
		u.found[x.at] = l
	}
	t.diagnostics = append(t.diagnostics, Diagnostic{
		Severity: s, File: u.file.path, Line: l.line, Column: l.column, Width: max(l.width, 1),
		Object: u.object(), Path: l.path, Message: x.message, Source: l.source,
	})
}

// document reads the text of a document again.
func (t *tree) document(u *unit) *node {
	nodes, ok := t.texts[u.file]
	if !ok {
		nodes, _ = readDocuments(u.file)
		if t.texts == nil {
			t.texts = map[*parsedFile][]*node{}
		}
		t.texts[u.file] = nodes
	}
	return nodes[u.index].at(u.at)
}

// fromFiles takes over what the files say by themselves.
func (t *tree) fromFiles() {
	harmless := map[harmlessKey]*harmlessFound{}
	for _, f := range t.parser.index.noisyFiles() {
		t.diagnostics = append(t.diagnostics, f.diagnostics...)
		for key, found := range f.harmless {
			if h := harmless[key]; h != nil {
				h.count += found.count
			} else {
				harmless[key] = &harmlessFound{found.first, found.count}
			}
		}
	}
	for key, h := range harmless {
		h.first.Message = key.text(h.count)
		t.diagnostics = append(t.diagnostics, h.first)
	}
}

// findCluster looks for the one Cluster.
func (t *tree) findCluster() {
	clusters := slices.Clone(t.parser.index.clusters.units)
	slices.SortFunc(clusters, comparePlaces)
	for i, u := range clusters {
		if i == 0 {
			t.cluster, t.result.Cluster = u, u.cluster
			continue
		}
		t.report(Error, u, finding{at: "/kind", message: "a second Cluster; the first is at " + t.cluster.meta.Place.String()})
	}
	if t.cluster != nil || t.parser.index.brokenClusters > 0 {
		return
	}
	message := "no document of kind Cluster; a tree has exactly one"
	if t.diagnostics.Errors() > 0 {
		message = "no document of kind Cluster in the files that could be read; a tree has exactly one"
	}
	t.diagnostics = append(t.diagnostics, Diagnostic{Severity: Error, Message: message})
}

// ignore sorts out the documents of foreign kinds.
func (t *tree) ignore() {
	patterns := slices.Clone(alwaysIgnored)
	if t.cluster != nil {
		patterns = append(patterns, t.cluster.ignore...)
	}
	for _, f := range t.parser.index.noisyFiles() {
		for _, foreign := range f.foreign {
			if foreign.ignoredBy(patterns) {
				t.result.Ignored[foreign.kind]++
			} else {
				t.diagnostics = append(t.diagnostics, foreign.diagnostic)
			}
		}
	}
}

// distinct takes the documents out of the index and refuses two of one kind
// and name.
func (t *tree) distinct() {
	x := t.parser.index
	for _, l := range []struct {
		from *list
		to   *[]*unit
	}{
		{&x.subnets, &t.subnets}, {&x.nodes, &t.nodes}, {&x.pods, &t.pods}, {&x.services, &t.services}, {&x.slices, &t.slices},
	} {
		units, twice := l.from.distinct()
		*l.to = units
		t.twice = t.twice || len(twice) > 0
		for _, pair := range twice {
			t.refuse(pair[1], "/metadata/name", "%s is there twice; the first is at %s", pair[1].object(), pair[0].meta.Place)
		}
	}
}

// settle completes the documents by what the Cluster says: those that are
// new, or all where that changed. Two documents of one name are no state to
// go on from.
func (t *tree) settle() {
	x := t.parser.index
	key, lists := clusterKey(t.cluster.cluster), [][]*unit{t.subnets, t.nodes, t.pods, t.services, t.slices}
	if t.twice || x.memo.worthless(key, lists) {
		x.memo.start(key, lists)
	}
	x.memo.settle(t.cluster.cluster)
	for _, u := range slices.SortedFunc(maps.Keys(x.memo.loud), compareUnits) {
		for _, x := range u.settled.findings {
			t.report(Error, u, x)
		}
		for _, x := range u.settled.warnings {
			t.report(Warning, u, x)
		}
	}
	if t.twice {
		x.memo.key = ""
	}
}

// collect puts the documents into the Config.
func (t *tree) collect() {
	c, m := t.result, &t.parser.index.memo
	c.Pods, c.Services, c.Slices, c.podsOn, c.Automatic = m.pods, m.services, m.slices, m.podsOn, m.automatic
	for _, u := range t.subnets {
		c.Subnets = append(c.Subnets, u.settled.subnet)
	}
	for _, u := range t.nodes {
		c.Nodes = append(c.Nodes, u.settled.node)
	}
}
