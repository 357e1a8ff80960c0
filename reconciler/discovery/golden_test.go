package discovery_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

var update = flag.Bool("update", false, "rewrite the outputs in testdata")

// self is the node that resolves; its underlay address is 192.0.2.1.
const self = "node-1"

// TestGolden makes the zone of the documents of each file of testdata, as its
// section "view" says things stand, one fact a line:
//
//	pod node-2 default/web-2 10.244.2.2     # not-ready may follow
//	node node-2 192.0.2.2                   # its underlay; failed may follow
//
// and compares it with its section "zone", in the form of a zone file with
// comments for names that have no records. The section "questions" has lines
// NAME TYPE and, after "->", what is answered.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			table := tableOf(t, archive)
			got := slices.Clone(archive.Files)
			for i, f := range got {
				switch f.Name {
				case "zone":
					got[i].Data = []byte(table.String())
				case "questions":
					got[i].Data = []byte(answers(table, string(f.Data)))
				}
			}
			now := txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: got})
			if *update {
				if err := os.WriteFile(path, now, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(txtar.Format(archive)), string(now)); diff != "" {
				t.Errorf("-file +now (-update rewrites):\n%s", diff)
			}
		})
	}
}

// answers asks each question, and writes what comes out behind it.
func answers(table *discovery.Table, questions string) string {
	var b strings.Builder
	for line := range strings.Lines(questions) {
		question, _, _ := strings.Cut(strings.TrimSpace(line), " ->")
		name, kind, _ := strings.Cut(question, " ")
		fmt.Fprintf(&b, "%s -> %s\n", question, ask(table, name, dns.StringToType[kind]))
	}
	return b.String()
}

// ask writes the outcome of a question: the records, or why there are none
// and the zone whose SOA record says so.
func ask(table *discovery.Table, name string, kind uint16) string {
	wire := discovery.Wire(name)
	r := table.Lookup([]byte(wire), kind)
	apex := ""
	if r.Zone > 0 {
		apex = discovery.Text(wire[len(wire)-r.Zone:])
	}
	switch r.Outcome {
	case discovery.Outside:
		return "outside"
	case discovery.NoData:
		return "NODATA " + apex
	case discovery.NoName:
		return "NXDOMAIN " + apex
	}
	var out []string
	for _, rr := range records(wire, r.Set) {
		text := strings.Join(strings.Fields(rr.String())[3:], " ")
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// records lets the library read a set as part of a message.
func records(name string, set *discovery.Set) []dns.RR {
	b := []byte{0, 0, 0x80, 0, 0, 1, byte(set.Count >> 8), byte(set.Count), 0, 0, byte(set.Additional >> 8), byte(set.Additional)}
	b = append(append(b, name...), 0, 255, 0, 1)
	b = append(append(b, set.Answers...), set.Extra...)
	var m dns.Msg
	if err := m.Unpack(b); err != nil {
		panic(err)
	}
	for _, rr := range m.Extra {
		rr.Header().Name += " (additional)"
	}
	return append(m.Answer, m.Extra...)
}

func tableOf(t *testing.T, archive *txtar.Archive) *discovery.Table {
	zone := discovery.NewZone()
	zone.Update(inputOf(t, archive))
	return zone.Table()
}

// inputOf reads documents and view of a golden.
func inputOf(t testing.TB, archive *txtar.Archive) discovery.Input {
	var documents []schema.File
	var v view.View
	v.Self.Name = self
	for _, f := range archive.Files {
		switch {
		case strings.HasSuffix(f.Name, ".yaml"):
			documents = append(documents, schema.File{Path: f.Name, Content: f.Data})
		case f.Name == "view":
			readView(&v, string(f.Data))
		}
	}
	config := parse(t, documents)
	underlay := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	resolved := services.NewResolver(config).Resolve(v, services.Host{Node: self, Underlay: underlay})
	return discovery.Input{Cluster: config.Cluster, Services: resolved, View: v, Underlay: underlay}
}

func parse(t testing.TB, documents []schema.File) *schema.Config {
	t.Helper()
	parser, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	config, diagnostics := parser.Parse(documents)
	if config == nil {
		t.Fatalf("documents: %+v", diagnostics)
	}
	return config
}

func readView(v *view.View, text string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if words[0] == "node" {
			node := peer(v, words[1])
			for _, word := range words[2:] {
				if word == "failed" {
					node.State = view.Failed
				} else {
					node.Underlay = append(node.Underlay, netip.MustParseAddr(word))
				}
			}
			continue
		}
		namespace, name, _ := strings.Cut(words[2], "/")
		p := view.Pod{Namespace: namespace, Name: name, Ready: true}
		for _, word := range words[3:] {
			if word == "not-ready" {
				p.Ready = false
			} else {
				p.Addresses = append(p.Addresses, netip.MustParseAddr(word))
			}
		}
		if words[1] == self {
			v.Self.Pods = append(v.Self.Pods, p)
		} else {
			node := peer(v, words[1])
			node.Pods = append(node.Pods, p)
		}
	}
}

func peer(v *view.View, name string) *view.Peer {
	i := slices.IndexFunc(v.Peers, func(p view.Peer) bool { return p.Name == name })
	if i < 0 {
		i = len(v.Peers)
		v.Peers = append(v.Peers, view.Peer{Name: name, State: view.Alive})
	}
	return &v.Peers[i]
}
