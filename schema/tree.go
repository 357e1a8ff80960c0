package schema

import "slices"

// tree is one call of Parse.
type tree struct {
	parser      *Parser
	files       []*parsedFile
	texts       map[*parsedFile][]*node // of files that diagnostics asked for
	diagnostics Diagnostics
	cluster     *unit
	result      *Config
	allocating  bool // clashes of automatic addresses are about to be settled
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
	for _, f := range t.files {
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
		for _, pair := range twice {
			t.refuse(pair[1], "/metadata/name", "%s is there twice; the first is at %s", pair[1].object(), pair[0].meta.Place)
		}
	}
}

// settle completes the documents by what the Cluster says.
func (t *tree) settle() {
	key := clusterKey(t.cluster.cluster)
	for _, units := range [][]*unit{t.subnets, t.nodes, t.services, t.slices} {
		for _, u := range units {
			settled := u.settle(t.cluster.cluster, key)
			for _, x := range settled.findings {
				t.report(Error, u, x)
			}
			for _, x := range settled.warnings {
				t.report(Warning, u, x)
			}
		}
	}
}

// collect puts the documents into the Config.
func (t *tree) collect() {
	c := t.result
	x := t.parser.index
	if x.podList == nil {
		x.podList = make([]*Pod, len(t.pods))
		for i, u := range t.pods {
			x.podList[i] = u.pod
		}
	}
	c.Pods = x.podList
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
		c.Automatic += u.settled.service.automatic
	}
	// The slices of an Endpoints document have longer names than it has.
	byName := func(a, b *EndpointSlice) int { return a.Name.Compare(b.Name) }
	if !slices.IsSortedFunc(c.Slices, byName) {
		slices.SortFunc(c.Slices, byName)
	}
}
