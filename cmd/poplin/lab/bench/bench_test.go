//go:build linux

package bench

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/poplin-net/poplin/schema"
)

var update = flag.Bool("update", false, "rewrite testdata")

// The layout is what the file shows, which a reader can hold against its
// source.
func TestKubeProxyLayout(t *testing.T) {
	var b strings.Builder
	if err := writeKubeProxy(&b, Size{3, 2}); err != nil {
		t.Fatal(err)
	}
	b.WriteString("# an endpoint of the service in the middle replaced\n")
	kubeProxyReplace(&printer{w: &b}, 1, 2)
	const path = "testdata/kube-proxy.nft"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the layout is not that of %s (-update rewrites):\n%s", path, b.String())
	}
}

// The trees are valid, with the number of services that they are named after.
func TestTree(t *testing.T) {
	sizes := []Size{{4, 1}, {700, 4}}
	for _, s := range sizes {
		x := tree{t.TempDir(), sizes}
		if err := x.start(); err != nil {
			t.Fatal(err)
		}
		if err := x.fill(s); err != nil {
			t.Fatal(err)
		}
		var files []schema.File
		for i := range s.Services {
			text, err := os.ReadFile(x.path(i))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, schema.File{Path: x.path(i), Content: text})
		}
		text, err := os.ReadFile(x.dir + "/cluster.yaml")
		if err != nil {
			t.Fatal(err)
		}
		p, err := schema.NewParser()
		if err != nil {
			t.Fatal(err)
		}
		config, diagnostics := p.Parse(append(files, schema.File{Path: "cluster.yaml", Content: text}))
		if config == nil || len(diagnostics) > 0 || len(config.Services) != s.Services {
			t.Errorf("%s: %v", s, diagnostics)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{"10": {10, 1}, "10000x10": {10000, 10}, "2": {}, "x": {}, "10x0": {}, "99999999": {}} {
		got, err := ParseSize(text)
		if (err == nil) != (want != Size{}) || err == nil && got != want {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
}

func TestParseApplied(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for line, want := range map[string]Applied{
		`time=2026-01-02T03:04:05.678Z level=INFO msg="plan applied" revision=a add=12 change=1 delete=0 cause=config took=1ms reaction=2.5ms`: {at, 12, 2500 * time.Microsecond},
		`time=2026-01-02T03:04:05.678Z level=INFO msg="plan applied" revision=a add=3 change=1 delete=0 cause=health took=1ms`:                 {at, 3, 0},
		`level=INFO msg="revision accepted" add=1`: {},
	} {
		got, ok := parseApplied(line)
		if ok != (want != Applied{}) || got != want {
			t.Errorf("%s: %v %v", line, got, ok)
		}
	}
}

func TestFigures(t *testing.T) {
	var samples []float64
	for i := range 100 {
		samples = append(samples, float64(i+1))
	}
	f := figure("10x1", "x", "ms", samples).atMost(98)
	if f.P50 != 50 || f.P99 != 99 || *f.Met {
		t.Errorf("%+v met %v", f, *f.Met)
	}
	if f := figure("10x1", "x", "", []float64{0.96}).atLeast(0.95); !*f.Met || f.P99 != 0 {
		t.Errorf("%+v", f)
	}
	if f := figure("10x1", "x", "ms", nil).atMost(1); *f.Met {
		t.Error("without a sample a floor is met")
	}
}

func TestOnlySomeMeasurements(t *testing.T) {
	all := Measurements()
	if err := CheckMeasurements(all); err != nil {
		t.Error(err)
	}
	if err := CheckMeasurements([]string{all[0], "tcp-9"}); err == nil || !strings.Contains(err.Error(), "trip") {
		t.Errorf("tcp-9: %v; want an error that says what there is", err)
	}
	if got := (OverlayOptions{}).chosen(); len(got) != len(all) {
		t.Errorf("%d measurements without a choice, want all", len(got))
	}
	got := OverlayOptions{Only: []string{"trip", "tcp-8"}}.chosen()
	if len(got) != 2 || got[0].id() != "tcp-8" || got[1].id() != "trip" {
		t.Errorf("chosen %v", got)
	}
}
