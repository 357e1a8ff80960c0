package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/schema"
)

func TestExitStatus(t *testing.T) {
	plain := errors.New("unknown flag: --frob")
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{plain, 2, "unknown flag: --frob"}, // cobra's own
		{withCode(exitRuntime, plain), 4, "unknown flag: --frob"},
		{withCode(exitRuntime, nil), 0, ""},
		{silently(exitDifferences), 1, ""},
		{fmt.Errorf("around: %w", withCode(exitHeldBack, plain)), 7, "unknown flag: --frob"},
		{daemonError(plain), 4, "unknown flag: --frob"},
		{daemonError(&api.InvalidError{}), 3, "invalid documents"},
		{daemonError(withCode(exitUsage, plain)), 2, "unknown flag: --frob"},
		{daemonError(nil), 0, ""},
	} {
		if code, text := exitStatus(c.err); code != c.code || text != c.text {
			t.Errorf("%v: %d %q, want %d %q", c.err, code, text, c.code, c.text)
		}
	}
	unreachable := daemonError(fmt.Errorf("%w: %v", api.ErrUnreachable, &net.OpError{Op: "dial", Err: plain}))
	if code, text := exitStatus(unreachable); code != 4 || !strings.Contains(text, "systemctl status poplin") {
		t.Errorf("an unreachable daemon: %d %q", code, text)
	}
}

// TestExitCodes runs commands as a shell would.
func TestExitCodes(t *testing.T) {
	nowhere := "--run-dir=" + t.TempDir()
	valid := filepath.Join("..", "..", "examples", "quickstart")
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"version", 0, ""},
		{"validate " + valid, 0, ""},
		{"frobnicate", 2, "unknown command"},
		{"status --frob", 2, "unknown flag: --frob"},
		{"status -o xml", 2, "must be one of [text json]"},
		{"plan one two", 2, "accepts at most 1 arg"},
		{"lab up --backend flannel " + valid, 2, "want udp, vxlan"},
		{"run --join nonsense", 2, "neither ADDRESS nor ADDRESS:PORT"},
		{"run --source sometimes", 2, "sometimes"},
		{"run --log-level loud", 2, "loud"},
		{"wait steady " + nowhere, 2, "wait for ready"},
		{"schema Frob", 2, "Frob"},
		{"status " + nowhere, 4, "not reachable"},
		{"reload " + nowhere, 4, "not reachable"},
		{"wait ready --timeout 1ms " + nowhere, 4, ""},
	} {
		_, stderr, code := poplin(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stderr, c.stderr) {
			t.Errorf("poplin %s: exit code %d, want %d; stderr %q, want %q in it", c.args, code, c.code, stderr, c.stderr)
		}
	}
}

func TestInvalidDocumentsExitWith3(t *testing.T) {
	dir := t.TempDir()
	must(t, writeFile(filepath.Join(dir, "cluster.yaml"), []byte("apiVersion: poplin/v1alpha1\nkind: Cluster\nmetadata: {name: c}\nspec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16], frob: 1}\n")))
	stdout, stderr, code := poplin(t, "validate", dir)
	if code != 3 || !strings.Contains(stdout+stderr, `unknown field "frob"`) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestPlanErrorPrintsDiagnostics(t *testing.T) {
	var out strings.Builder
	err := planError(&out, &api.InvalidError{Diagnostics: []schema.Diagnostic{{Severity: schema.Error, File: "web.yaml", Line: 3, Column: 1, Width: 1, Message: "no such thing"}}})
	if code, _ := exitStatus(err); code != exitInvalid || !strings.Contains(out.String(), "web.yaml:3:1") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
