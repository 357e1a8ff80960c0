package services

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/poplin-net/poplin/schema"
)

// TestExplain explains the services of every file of testdata that has a
// section "explain": a line for each candidate with its shares and why.
func TestExplain(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	tested := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "explain" })
		if at < 0 {
			continue
		}
		tested++
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			config, v, _ := read(t, archive)
			r := NewResolver(config)
			host := Host{Node: self, Underlay: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
			reasons := Reasons{{Namespace: "default", Name: "sick"}: "GET http://10.244.1.9/: 503"}
			var b strings.Builder
			for _, s := range config.Services {
				fmt.Fprintln(&b, s.Meta.Name)
				for _, e := range r.Explain(s, v, host, reasons) {
					b.WriteString(explanationText(e))
				}
				for _, c := range r.NearMisses(s, 2) {
					fmt.Fprintf(&b, "  not selected: %s %s: %s\n", c.Pod, c.Place, c.Reason)
				}
			}
			compare(t, path, archive, "explain", string(archive.Files[at].Data), b.String())
		})
	}
	if tested == 0 {
		t.Error("no file has such a section")
	}
}

func explanationText(e Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %d/%s %s, %d frontends\n", e.Port.Port, e.Port.Protocol, e.Family, len(e.Frontends))
	for _, c := range e.Candidates {
		name := c.Pod
		if name == (schema.Name{}) {
			name = c.Slice
		}
		to := "-"
		if c.To.IsValid() {
			to = c.To.String()
		}
		fmt.Fprintf(&b, "    %d of %d", c.Slots, e.Slots)
		if e.LocalSlots > 0 {
			fmt.Fprintf(&b, ", %d of %d here", c.LocalSlots, e.LocalSlots)
		}
		fmt.Fprintf(&b, ": %s %s %s: %s\n", name, to, c.Place, c.Reason)
	}
	return b.String()
}

// Who is said to be in is who takes connections.
func TestExplainAgreesWithResolve(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	host := Host{Node: self, Underlay: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		config, v, _ := read(t, archive)
		r := NewResolver(config)
		for _, s := range r.Resolve(v, host) {
			var frontends []Frontend
			for _, e := range r.Explain(s.Document, v, host, nil) {
				in := map[netip.AddrPort]bool{}
				for _, c := range e.Candidates {
					if c.Slots+c.LocalSlots > 0 {
						in[c.To] = true
					}
				}
				takes := map[netip.AddrPort]bool{}
				for _, f := range e.Frontends {
					frontends = append(frontends, f)
					for _, endpoint := range slices.Concat(f.Endpoints, f.Local) {
						takes[endpoint.Target] = true
					}
				}
				if len(e.Frontends) > 0 && fmt.Sprint(in) != fmt.Sprint(takes) {
					t.Errorf("%s, %s %d: %v are in, but %v take connections", path, s.Document.Meta.Name, e.Port.Port, in, takes)
				}
			}
			if len(frontends) != len(s.Frontends) {
				t.Errorf("%s, %s: %d frontends, not %d", path, s.Document.Meta.Name, len(frontends), len(s.Frontends))
			}
		}
	}
}
