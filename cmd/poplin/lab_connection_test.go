//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// answerPatience is how long a standing connection may take to answer. It
// covers several retransmissions: what is told is a broken connection, not a
// slow one.
const answerPatience = 20 * time.Second

// connections are the standing TCP connections of a script, by name.
type connections map[string]*connection

type connectionsKey struct{}

// connection is one TCP connection to a server of the lab, kept open over
// HTTP requests. A program in the lab holds it; this is its other end.
type connection struct {
	requests io.WriteCloser
	answers  *bufio.Reader
	stop     context.CancelFunc
}

// setUpConnections gives a script a place for its standing connections and
// closes them afterwards.
func setUpConnections(env *testscript.Env) {
	open := connections{}
	env.Values[connectionsKey{}] = open
	env.Defer(func() {
		for _, c := range open {
			c.stop()
		}
	})
}

// connectCommand is connect NAME HOST [NS/POD] ADDRESS PORT: it opens a
// connection, which ask NAME uses.
func connectCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 && len(args) != 5 {
		ts.Fatalf("usage: connect NAME HOST [NS/POD] ADDRESS PORT")
	}
	lab := []string{"lab", "exec", args[1]}
	if len(args) == 5 {
		lab = append(lab, "--pod", args[2])
	}
	lab = append(lab, "--", "ncat")
	lab = append(lab, args[len(args)-2:]...)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "poplin", lab...)
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "XDG_RUNTIME_DIR=" + ts.Getenv("XDG_RUNTIME_DIR")}
	requests, err := cmd.StdinPipe()
	ts.Check(err)
	answers, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	stop := func() {
		cancel()
		_ = cmd.Wait() // killed
	}
	ts.Value(connectionsKey{}).(connections)[args[0]] = &connection{requests, bufio.NewReader(answers), stop}
	askCommand(ts, false, args[:1])
}

// askCommand is ask NAME [RE]: a request over the connection is answered, and
// the answer matches.
func askCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 && len(args) != 2 {
		ts.Fatalf("usage: ask NAME [RE]")
	}
	c := ts.Value(connectionsKey{}).(connections)[args[0]]
	if c == nil {
		ts.Fatalf("no connection %s", args[0])
	}
	answer, err := c.ask()
	if err != nil {
		ts.Fatalf("connection %s: %v", args[0], err)
	}
	ts.Logf("%s", answer)
	if len(args) == 2 && !regexp.MustCompile(args[1]).MatchString(answer) {
		ts.Fatalf("%s: the answer %q does not match %s", args[0], answer, args[1])
	}
}

func (c *connection) ask() (string, error) {
	slow := time.AfterFunc(answerPatience, c.stop)
	defer slow.Stop()
	if _, err := io.WriteString(c.requests, "GET / HTTP/1.1\r\nHost: lab\r\n\r\n"); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return "", fmt.Errorf("no answer: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
