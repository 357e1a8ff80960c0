//go:build linux

package main

import (
	"encoding/json"
	"os/exec"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// everywhereCommand is everywhere FIGURE [-stdout RE] [-without RE] --
// PROGRAM ARG...: what eventually is, with the program run on every node of
// the lab. The time counts from the first look for all of them. Afterwards
// stdout is that of the last node.
func everywhereCommand(ts *testscript.TestScript, neg bool, args []string) {
	x, err := parseExpectation(args)
	if neg || err != nil {
		ts.Fatalf("everywhere: %v", err)
	}
	start := time.Now()
	status := exec.Command("poplin", "lab", "status", "-o", "json") // not by ts, which prints it all
	status.Env = []string{"XDG_RUNTIME_DIR=" + ts.Getenv("XDG_RUNTIME_DIR")}
	out, err := status.Output()
	ts.Check(err)
	var nodes []struct{ Node string }
	ts.Check(json.Unmarshal(out, &nodes))
	program := x.program
	for _, n := range nodes {
		x.program = append([]string{"lab", "exec", n.Node, "--"}, program...)
		x.await(ts, start)
	}
}
