//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

const (
	// patience is how many times the stated figure a test waits.
	patience = 5
	// retryPause is between two attempts of eventually.
	retryPause = 50 * time.Millisecond
)

// TestLab runs the scripts in testdata/lab: each has a lab of its own, with
// the real program in real namespaces. Besides testscript's commands they have
//
//	lab ARG...                     poplin lab ARG...
//	code N PROGRAM ARG...          the program ends with exit code N
//	eventually FIGURE [-stdout RE] [-without RE] -- PROGRAM ARG...
//	                               the program succeeds, and its output matches
//	                               (does not match), within five times FIGURE,
//	                               a duration; prints the time that it took
//	everywhere FIGURE [-stdout RE] [-without RE] -- PROGRAM ARG...
//	                               the same on every node of the lab
//	within FIGURE PROGRAM ARG...   the same, at the first try
//	needs PROGRAM|/DEVICE...       skips the script where one is missing
//	requires REASON PROGRAM ARG... skips the script where the program fails
//
// and for traffic seen, balanced, sticks, answers, refused and silent
// (lab_traffic_test.go), for standing connections connect and ask (lab_connection_test.go). The variables
// EXAMPLES and TREES name examples and testdata/trees. The condition [long] is
// POPLIN_TEST_LONG=1, [newest-nft] is POPLIN_TEST_NFT, the path of an nft
// other than this system's.
//
// In code and eventually, lab is poplin lab too. TestLab/NAME runs one script.
func TestLab(t *testing.T) {
	needNamespaces(t)
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/lab",
		Setup: setUpLab,
		Condition: func(name string) (bool, error) {
			switch name {
			case "long":
				return os.Getenv("POPLIN_TEST_LONG") == "1", nil
			case "newest-nft":
				return os.Getenv("POPLIN_TEST_NFT") != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lab":        labCommand,
			"code":       codeCommand,
			"eventually": eventuallyCommand,
			"connect":    connectCommand,
			"ask":        askCommand,
			"everywhere": everywhereCommand,
			"needs":      needsCommand,
			"requires":   requiresCommand,
			"within":     withinCommand,
			"seen":       seenCommand,
			"balanced":   balancedCommand,
			"answers":    answersCommand,
			"refused":    refusedCommand,
			"silent":     silentCommand,
			"sticks":     sticksCommand,
			"planned":    plannedCommand,
		},
	})
}

// needNamespaces skips the test where labs cannot be made at all; with
// POPLIN_TEST_REQUIRE=1 it fails.
func needNamespaces(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", shortTempDir(t))
	const name = "probe"
	cmd := exec.Command("poplin", "lab", "up", "--name", name, "--no-daemon", "--detach", "--nodes", "1")
	out, err := cmd.CombinedOutput()
	_, downErr := lab.Down(name)
	if err == nil && downErr == nil {
		return
	}
	text := fmt.Sprintf("no lab here: %v %v\n%s", err, downErr, out)
	if os.Getenv("POPLIN_TEST_REQUIRE") == "1" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// shortTempDir is for sockets, whose paths must be short.
func shortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// setUpLab gives a script a place for its labs and removes them afterwards,
// printing the daemons' logs if the script has failed.
func setUpLab(env *testscript.Env) error {
	t := env.T().(testing.TB)
	dir := shortTempDir(t)
	env.Setenv("XDG_RUNTIME_DIR", dir)
	// Other tests' settings and the machine's are none of the script's.
	env.Setenv("POPLIN_NAME", lab.DefaultName)
	setUpConnections(env)
	env.Values[testingKey{}] = t
	env.Setenv("POPLIN_TEST_NFT", os.Getenv("POPLIN_TEST_NFT"))
	for name, path := range map[string]string{"EXAMPLES": "../../examples", "TREES": "testdata/trees"} {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		env.Setenv(name, path)
	}
	vars := env.Vars
	env.Defer(func() {
		if t.Failed() {
			printLogs(t, dir)
		}
		for _, d := range labDirectories(dir) {
			cmd := exec.Command("poplin", "lab", "down", "--name", filepath.Base(d))
			cmd.Env = vars
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("lab down: %v\n%s", err, out)
			}
		}
	})
	return nil
}

// labDirectories lists the labs below a runtime directory.
func labDirectories(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, "poplin-lab", "*")) // fails for bad patterns only
	return found
}

func printLogs(t testing.TB, dir string) {
	for _, d := range labDirectories(dir) {
		logs, _ := filepath.Glob(filepath.Join(d, "*.log"))
		for _, file := range logs {
			const most = 20_000
			content, err := os.ReadFile(file)
			if err != nil || len(content) == 0 {
				continue
			}
			if len(content) > most {
				content = append([]byte("…"), content[len(content)-most:]...)
			}
			t.Logf("%s/%s:\n%s", filepath.Base(d), filepath.Base(file), bytes.TrimSpace(content))
		}
	}
}

func labCommand(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("poplin", append([]string{"lab"}, args...)...)
	if err == nil && neg {
		ts.Fatalf("unexpected success")
	}
	if err != nil && !neg {
		ts.Fatalf("unexpected failure: %v", err)
	}
}

// program turns the words of a script into those of a program.
func program(args []string) (string, []string) {
	if args[0] == "lab" {
		return "poplin", args
	}
	return args[0], args[1:]
}

func codeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARG...")
	}
	name, rest := program(args[1:])
	code := 0
	err := ts.Exec(name, rest...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// expectation is what eventually waits for.
type expectation struct {
	figure          time.Duration
	stdout, without *regexp.Regexp
	program         []string
}

func parseExpectation(args []string) (x expectation, err error) {
	usage := errors.New("usage: eventually FIGURE [-stdout RE] [-without RE] -- PROGRAM ARG...")
	if len(args) == 0 {
		return x, usage
	}
	if x.figure, err = time.ParseDuration(args[0]); err != nil {
		return x, err
	}
	for args = args[1:]; len(args) > 1; args = args[2:] {
		switch args[0] {
		case "--":
			x.program = args[1:]
			return x, nil
		case "-stdout":
			x.stdout, err = regexp.Compile("(?m)" + args[1])
		case "-without":
			x.without, err = regexp.Compile("(?m)" + args[1])
		default:
			return x, usage
		}
		if err != nil {
			return x, err
		}
	}
	return x, usage
}

// met runs the program once and says what is missing.
func (x expectation) met(ts *testscript.TestScript) error {
	name, rest := program(x.program)
	if err := ts.Exec(name, rest...); err != nil {
		return err
	}
	out := ts.ReadFile("stdout")
	if x.stdout != nil && !x.stdout.MatchString(out) {
		return fmt.Errorf("output does not match %s", x.stdout)
	}
	if x.without != nil && x.without.MatchString(out) {
		return fmt.Errorf("output matches %s", x.without)
	}
	return nil
}

func eventuallyCommand(ts *testscript.TestScript, neg bool, args []string) {
	x, err := parseExpectation(args)
	if neg || err != nil {
		ts.Fatalf("%v", errors.Join(err, errors.New("eventually cannot be negated")))
	}
	x.await(ts, time.Now())
}

// await fails the script if the expectation is not met within five times its
// figure, counted from start.
func (x expectation) await(ts *testscript.TestScript, start time.Time) {
	for {
		err := x.met(ts)
		took := time.Since(start).Round(10 * time.Millisecond)
		if err == nil {
			ts.Logf("took %s (figure %s): %v", took, x.figure, x.program)
			return
		}
		if took > patience*x.figure {
			ts.Fatalf("not within %s, five times the figure: %v", patience*x.figure, err)
		}
		time.Sleep(retryPause)
	}
}
