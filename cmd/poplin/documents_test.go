package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs a command of the binary on documents, without the binary.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	code, text := exitStatus(root.Execute())
	return code, out.String(), errs.String() + text
}

// documents writes a tree: a Cluster, and one file more.
func documents(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	cluster := "apiVersion: poplin/v1alpha1\nkind: Cluster\nmetadata: {name: test}\nspec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]}\n"
	for name, content := range map[string]string{"cluster.yaml": cluster, "sub/a.yaml": text} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	podDocument     = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec: {nodeName: node-1}\n"
	serviceDocument = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]} # kept\n"
	nobodysService  = "---\napiVersion: v1\nkind: Service\nmetadata: {name: nobody}\nspec: {selector: {app: other}, ports: [{port: 80}]}\n"
)

func TestValidateCodes(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		args []string
		code int
		want string
	}{
		"valid":   {podDocument, nil, exitDone, "2 files, 2 documents (1 Cluster, 1 Pod): 0 errors, 0 warnings."},
		"error":   {podDocument + "spce: {}\n", nil, exitInvalid, "--> sub/a.yaml:5:1  (Pod default/web)"},
		"warning": {nobodysService, nil, exitDone, "matches no Pod"},
		"strict":  {nobodysService, []string{"--strict"}, exitInvalid, "0 errors, 1 warning."},
		"usage":   {podDocument, []string{"-o", "yaml"}, exitUsage, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, append([]string{"validate", documents(t, test.text)}, test.args...)...)
			if code != test.code || !strings.Contains(out, test.want) {
				t.Errorf("code %d, want %d; output:\n%s%s", code, test.code, out, errs)
			}
		})
	}
	if code, _, errs := command(t, "validate", filepath.Join(t.TempDir(), "none")); code != exitRuntime {
		t.Errorf("a missing directory: code %d (%s)", code, errs)
	}
	if code, out, _ := command(t, "validate", t.TempDir()); code != exitInvalid || !strings.Contains(out, "no document of kind Cluster") {
		t.Errorf("an empty directory: code %d\n%s", code, out)
	}
}

func TestValidateJSON(t *testing.T) {
	_, out, _ := command(t, "validate", "-o", "json", documents(t, podDocument+"spce: {}\n"))
	var got validation
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err, out)
	}
	if got.Kind != "Validation" || got.Valid || len(got.Diagnostics) != 1 || got.Summary.Errors != 1 || got.Summary.Documents != 2 {
		t.Errorf("%+v", got)
	}
	if d := got.Diagnostics[0]; d.File != "sub/a.yaml" || d.Line != 5 || d.Column != 1 || d.Width != 4 || d.Object != "Pod default/web" {
		t.Errorf("%+v", d)
	}
}

func TestAllocateCommand(t *testing.T) {
	dir := documents(t, podDocument+serviceDocument)
	path := filepath.Join(dir, "sub/a.yaml")
	before, _ := os.ReadFile(path)
	code, out, errs := command(t, "allocate", "--check", dir)
	if code != exitDifferences || !strings.Contains(out, "sub/a.yaml: Service default/web: clusterIP 10.96.") {
		t.Fatalf("--check: code %d\n%s%s", code, out, errs)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(now, before) {
		t.Error("--check wrote")
	}
	if code, _, errs := command(t, "allocate", dir); code != exitDone {
		t.Fatalf("code %d\n%s", code, errs)
	}
	now, _ := os.ReadFile(path)
	if !strings.Contains(string(now), "spec: {clusterIP: 10.96.") || !strings.Contains(string(now), "# kept\n") {
		t.Errorf("%s", now)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	if code, out, _ := command(t, "allocate", "--check", dir); code != exitDone || out != "" {
		t.Errorf("afterwards: code %d\n%s", code, out)
	}
	if code, _, errs := command(t, "allocate", documents(t, "a: [")); code != exitInvalid || !strings.Contains(errs, "error: ") {
		t.Errorf("a broken file: code %d\n%s", code, errs)
	}
}

func TestSchemaCommand(t *testing.T) {
	_, out, _ := command(t, "schema")
	if !json.Valid([]byte(out)) {
		t.Error("the schema is not JSON")
	}
	for _, kind := range []string{"cluster", "Subnet", "node", "service", "endpoints", "endpointslice", "pod", "list"} {
		if code, out, errs := command(t, "schema", kind); code != exitDone || !strings.Contains(out, "Fields\n") {
			t.Errorf("%s: code %d\n%s%s", kind, code, out, errs)
		}
	}
	if code, _, errs := command(t, "schema", "pdo"); code != exitUsage || !strings.Contains(errs, `did you mean "Pod"`) {
		t.Errorf("an unknown kind: code %d, %s", code, errs)
	}
}
