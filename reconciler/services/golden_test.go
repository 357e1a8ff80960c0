package services

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
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

var update = flag.Bool("update", false, "rewrite the outputs in testdata")

// self is the node that resolves; its underlay address is 192.0.2.1.
const self = "node-1"

// TestGolden resolves the documents of each file of testdata as its section
// "view" says things stand, one fact a line:
//
//	pod node-2 default/web-2 10.244.2.2     # not-ready may follow
//	node node-2 192.0.2.2                   # its underlay; failed and health may follow
//
// and compares with its section "services": a line for each frontend with
// how many of its endpoints take connections, and which; and one for each load
// balancer address and health check.
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
			config, v, want := read(t, archive)
			host := Host{Node: self, Underlay: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
			resolver := NewResolver(config)
			got := format(resolver.Resolve(v, host)) + formatOutside(resolver.Outside(v, host))
			compare(t, path, archive, "services", want, got)
		})
	}
}

// compare compares a section of a file, or writes it.
func compare(t *testing.T, path string, archive *txtar.Archive, section, want, got string) {
	t.Helper()
	if !*update {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-file +now (-update rewrites):\n%s", diff)
		}
		return
	}
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == section })
	archive.Files = append(archive.Files, txtar.File{Name: section, Data: []byte(got)})
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, archive *txtar.Archive) (config *schema.Config, v view.View, want string) {
	var documents []schema.File
	v.Self.Name = self
	for _, f := range archive.Files {
		switch {
		case strings.HasSuffix(f.Name, ".yaml"):
			documents = append(documents, schema.File{Path: f.Name, Content: f.Data})
		case f.Name == "view":
			readView(&v, string(f.Data))
		case f.Name == "services":
			want = string(f.Data)
		}
	}
	parser, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	config, diagnostics := parser.Parse(documents)
	if config == nil {
		t.Fatalf("documents: %+v", diagnostics)
	}
	return config, v, want
}

func readView(v *view.View, text string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if words[0] == "node" {
			node := peer(v, words[1])
			for _, word := range words[2:] {
				switch word {
				case "failed":
					node.State = view.Failed
				case "health":
					node.Health = true
				default:
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

func format(list []*Service) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%s (%s)\n", s.Document.Meta.Name, s.Document.Place)
		if ready, total := s.Counts(); s.Document.Headless && s.Document.Type != schema.ExternalName {
			fmt.Fprintf(&b, "  headless: %d of %d\n", ready, total)
		}
		for _, e := range s.Headless {
			fmt.Fprintf(&b, "  endpoint %s %q %v\n", e.Address, e.Hostname, e.Ports)
		}
		for _, f := range s.Frontends {
			address := f.Address.String()
			switch f.Kind {
			case NodePort:
				address = "node port " + f.Family.String()
			case LoadBalancer:
				address = "load balancer " + address
			case ExternalIP:
				address = "external " + address
			}
			port := fmt.Sprint(f.Port)
			if f.LastPort != 0 {
				port += fmt.Sprint("-", f.LastPort)
			}
			fmt.Fprintf(&b, "  %s %s/%s %s: %d of %d %v", address, port, f.Protocol, f.PortName, f.Ready, f.Total, f.Endpoints)
			if f.HashSlots > 0 {
				fmt.Fprintf(&b, " hash %d", f.HashSlots)
			}
			if f.Elsewhere {
				b.WriteString(" elsewhere")
			}
			if f.OutsideLocal {
				fmt.Fprintf(&b, " outside %v", f.Local)
			}
			if f.Affinity > 0 {
				fmt.Fprintf(&b, " sticky %s", f.Affinity)
			}
			if f.Restricted {
				fmt.Fprintf(&b, " from %v", f.Sources)
			}
			b.WriteString("\n")
		}
	}
	return strings.ReplaceAll(b.String(), " : ", ": ")
}
