package discovery_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/schema"
)

// TestEnvironment makes the variables of the namespace default of the
// documents in each file of testdata/environment.
func TestEnvironment(t *testing.T) {
	paths, err := filepath.Glob("testdata/environment/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			variables := discovery.Environment(servicesIn(inputOf(t, archive), "default"))
			got := slices.Clone(archive.Files)
			for i, f := range got {
				switch f.Name {
				case "dotenv":
					got[i].Data = []byte(discovery.Dotenv(variables))
				case "shell":
					got[i].Data = []byte(discovery.Shell(variables))
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

// Services that are said to have the same variables have them.
func TestSameVariables(t *testing.T) {
	paths, err := filepath.Glob("testdata/environment/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var all []*schema.Service
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, servicesIn(inputOf(t, archive), "default")...)
		all = append(all, servicesIn(inputOf(t, archive), "default")...) // the same text once more
	}
	for _, a := range all {
		for _, b := range all {
			equal := slices.Equal(discovery.Environment([]*schema.Service{a}), discovery.Environment([]*schema.Service{b}))
			if a.Meta.Name == b.Meta.Name && equal != discovery.SameVariables(a, b) || discovery.SameVariables(a, b) && !equal {
				t.Errorf("%s at %s and %s: the variables are the same is %v", a.Meta.Name, a.Place, b.Place, equal)
			}
		}
	}
}

func servicesIn(in discovery.Input, namespace string) []*schema.Service {
	var out []*schema.Service
	for _, s := range in.Services {
		if s.Document.Namespace == namespace {
			out = append(out, s.Document)
		}
	}
	return out
}

// Dots become underscores as dashes do; a service without a cluster IP has no
// variables.
func TestEnvironmentOfDottedName(t *testing.T) {
	s := &schema.Service{ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, Ports: []schema.ServicePort{{Name: "a.b", Port: 80, Protocol: schema.TCP}}}
	s.Name.Name = "web.v1-x"
	headless := &schema.Service{Headless: true}
	got := discovery.Environment([]*schema.Service{headless, s})
	want := []discovery.Variable{{Name: "WEB_V1_X_SERVICE_HOST", Value: "10.96.0.1"}, {Name: "WEB_V1_X_SERVICE_PORT", Value: "80"}, {Name: "WEB_V1_X_SERVICE_PORT_A_B", Value: "80"}}
	if len(got) < 3 || !slices.Equal(got[:3], want) {
		t.Errorf("%v", got)
	}
}
