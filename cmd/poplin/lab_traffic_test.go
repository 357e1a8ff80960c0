//go:build linux

package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Traffic in a lab, by real clients. Places are written NODE, client, or
// NODE/POD for a pod of the namespace default. Where a protocol or an address
// is asked for, several may be given, separated by commas.

// askTCP and askUDP are what a client runs to ask a lab's server once. (bash
// itself would read a datagram byte by byte, and lose all but the first.)
var (
	askTCP = []string{"curl", "-sS", "-m", "10", "http://%s/"}
	askUDP = []string{"bash", "-c", `exec 3<>/dev/udp/%s && echo hello >&3 && timeout 10 head -n1 <&3`}
	// A new source port for each: connections are not kept, and each
	// redirection is another socket.
	manyTCP = []string{"curl", "-sS", "-m", "60", "-H", "Connection: close", "http://%s/[1-%d]"}
	manyUDP = []string{"timeout", "60", "bash", "-c", `for i in $(seq %[2]d); do
		exec 3<>/dev/udp/%[1]s && echo hello >&3 && head -n1 <&3 || exit 1; done`}
	// A refused datagram is told at the next call; the kernel that refuses
	// its own host's says EPERM at once.
	knockTCP = []string{"timeout", "20", "bash", "-c", `exec 3<>/dev/tcp/%s`}
	knockUDP = []string{"timeout", "20", "bash", "-c", `exec 3<>/dev/udp/%s && echo hello >&3 && read -r -u 3`}
	// timeout's own exit code tells that nothing came at all.
	askSilentTCP = []string{"bash", "-c", `timeout 1 bash -c 'exec 3<>/dev/tcp/%s'; test $? = 124 && echo silence`}
	askSilentUDP = []string{"bash", "-c", `timeout 1 bash -c 'exec 3<>/dev/udp/%s && echo hello >&3 && read -r -u 3'; test $? = 124 && echo silence`}
)

// refusal is what bash says when a client was told that nobody is there.
var refusal = regexp.MustCompile(`Connection refused|write error: Operation not permitted`)

// refusalTime is far below the time-outs of all clients above.
const refusalTime = 5 * time.Second

// words fills an address, as in URLs, and what else there is into a command.
func words(command []string, args ...any) []string {
	out := slices.Clone(command)
	last := len(out) - 1
	if address := args[0].(string); slices.Contains(out, "bash") {
		colon := strings.LastIndexByte(address, ':')
		args[0] = strings.Trim(address[:colon], "[]") + "/" + address[colon+1:]
	}
	out[last] = fmt.Sprintf(out[last], args...)
	return out
}

// at turns a command into one that runs in a place of the lab.
func at(place string, command ...string) []string {
	node, pod, found := strings.Cut(place, "/")
	args := []string{"lab", "exec", node}
	if found {
		args = append(args, "--pod", "default/"+pod)
	}
	return append(append(args, "--"), command...)
}

// run runs a command in a place and gives what it prints.
func run(ts *testscript.TestScript, place string, command ...string) (stdout, stderr string, err error) {
	err = ts.Exec("poplin", at(place, command...)...)
	return ts.ReadFile("stdout"), ts.ReadFile("stderr"), err
}

// seenCommand is
//
//	seen FILE
//
// The file has lines FROM TO ADDRESS SOURCE: a client at FROM reaches TO under
// ADDRESS, by ping and on port 9000 of TCP and UDP, and there the packets have
// the source address SOURCE.
func seenCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: seen FILE")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 4 {
			ts.Fatalf("%s: %q: want FROM TO ADDRESS SOURCE", args[0], line)
		}
		from, to, address, source := f[0], f[1], f[2], f[3]
		target := address + ":9000"
		if strings.Contains(address, ":") {
			target = "[" + address + "]:9000"
		}
		for _, ask := range [][]string{askTCP, askUDP} {
			out, errText, err := run(ts, from, words(ask, target)...)
			if err != nil || !strings.HasSuffix(strings.TrimSpace(out), " "+source) {
				ts.Fatalf("%s: %s says %q %s%v", strings.TrimSpace(line), ask[0], out, errText, err)
			}
		}
		pingSeen(ts, from, to, address, source)
	}
}

// watchPings notes in the receiver where pings come from, from now on. Daemons
// ping each other too, with packets of full size.
const watchPings = `add table inet watch
delete table inet watch
add table inet watch
add set inet watch from4 { type ipv4_addr; flags dynamic; size 64; }
add set inet watch from6 { type ipv6_addr; flags dynamic; size 64; }
add chain inet watch input { type filter hook input priority 0; }
add rule inet watch input icmp type echo-request meta length < 200 add @from4 { ip saddr }
add rule inet watch input icmpv6 type echo-request meta length < 200 add @from6 { ip6 saddr }`

func pingSeen(ts *testscript.TestScript, from, to, address, source string) {
	set := "from4"
	if strings.Contains(address, ":") {
		set = "from6"
	}
	if _, text, err := run(ts, to, "nft", watchPings); err != nil {
		ts.Fatalf("%s: %s%v", to, text, err)
	}
	if out, text, err := run(ts, from, "ping", "-c1", "-W5", address); err != nil {
		ts.Fatalf("%s: ping %s: %s%s%v", from, address, out, text, err)
	}
	out, _, err := run(ts, to, "nft", "list", "set", "inet", "watch", set)
	if err != nil || !strings.Contains(out, "elements = { "+source+" }") {
		ts.Fatalf("ping from %s to %s: seen with\n%s%v", from, address, out, err)
	}
}

// balancedCommand is
//
//	balanced tcp|udp ADDRESS:PORT POD,POD,... COUNT FROM...
//
// COUNT connections from each place reach all of the pods and nobody else.
// Each gets its share, give or take five standard deviations: of three pods and
// 300 connections between 20 % and 47 %. POD*3 has three times POD's share.
func balancedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 5 {
		ts.Fatalf("usage: balanced tcp|udp ADDRESS:PORT POD,POD,... COUNT FROM...")
	}
	weights, sum := map[string]int{}, 0
	for _, pod := range strings.Split(args[2], ",") {
		pod, text, found := strings.Cut(pod, "*")
		weight := 1
		if found {
			var err error
			weight, err = strconv.Atoi(text)
			ts.Check(err)
		}
		weights["default/"+pod] = weight
		sum += weight
	}
	count, err := strconv.Atoi(args[3])
	ts.Check(err)
	eachWay(args[0], args[1], args[4:], func(protocol, address, from string) {
		got := answeredBy(ts, protocol, address, count, from)
		if len(got) != len(weights) {
			ts.Fatalf("answers from %v, want %s", got, args[2])
		}
		for pod, weight := range weights {
			share := float64(weight) / float64(sum)
			mean, spread := float64(count)*share, 5*math.Sqrt(float64(count)*share*(1-share))
			if math.Abs(float64(got[pod])-mean) > spread {
				ts.Fatalf("%s has %d of %d, not %.0f ± %.0f", pod, got[pod], count, mean, spread)
			}
		}
	})
}

// eachWay calls f for each of several protocols and addresses, separated by
// commas, and each place.
func eachWay(protocols, addresses string, places []string, f func(protocol, address, from string)) {
	for _, protocol := range strings.Split(protocols, ",") {
		for _, address := range strings.Split(addresses, ",") {
			for _, from := range places {
				f(protocol, address, from)
			}
		}
	}
}

// answeredBy makes so many connections, all of which must be answered, and
// counts who did.
func answeredBy(ts *testscript.TestScript, protocol, address string, count int, from string) map[string]int {
	many := manyTCP
	if protocol == "udp" {
		many = manyUDP
	}
	out, text, err := run(ts, from, words(many, address, count)...)
	if err != nil {
		ts.Fatalf("%s: %s%s%v", from, out, text, err)
	}
	got, total := map[string]int{}, 0
	for line := range strings.Lines(out) {
		got[strings.Fields(line + " ?")[0]]++
		total++
	}
	ts.Logf("%s %s from %s: %v", protocol, address, from, got)
	if total != count {
		ts.Fatalf("%d answers from %v, want %d", total, got, count)
	}
	return got
}

// sticksCommand is
//
//	sticks tcp|udp ADDRESS:PORT COUNT FROM...
//
// COUNT connections from each place all reach the same endpoint.
func sticksCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: sticks tcp|udp ADDRESS:PORT COUNT FROM...")
	}
	count, err := strconv.Atoi(args[2])
	ts.Check(err)
	eachWay(args[0], args[1], args[3:], func(protocol, address, from string) {
		if got := answeredBy(ts, protocol, address, count, from); len(got) != 1 {
			ts.Fatalf("answers from %v", got)
		}
	})
}

// answersCommand is
//
//	answers tcp|udp ADDRESS:PORT RE FROM...
//
// One connection from each place is answered with a line that matches.
func answersCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: answers tcp|udp ADDRESS:PORT RE FROM...")
	}
	want, err := regexp.Compile("^(?:" + args[2] + ")\n$")
	ts.Check(err)
	eachWay(args[0], args[1], args[3:], func(protocol, address, from string) {
		ask := askTCP
		if protocol == "udp" {
			ask = askUDP
		}
		out, text, err := run(ts, from, words(ask, address)...)
		if err != nil || !want.MatchString(out) {
			ts.Fatalf("%s %s from %s: %q %s%v", protocol, address, from, out, text, err)
		}
	})
}

// refusedCommand is
//
//	refused tcp|udp ADDRESS:PORT FROM...
//
// A client at each place is told that nobody is there, without a time-out.
func refusedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: refused tcp|udp ADDRESS:PORT FROM...")
	}
	eachWay(args[0], args[1], args[2:], func(protocol, address, from string) {
		knock := knockTCP
		if protocol == "udp" {
			knock = knockUDP
		}
		start := time.Now()
		out, text, err := run(ts, from, words(knock, address)...)
		took := time.Since(start)
		if err == nil || !refusal.MatchString(text) || took > refusalTime {
			ts.Fatalf("%s %s from %s, after %s: %s%s%v", protocol, address, from, took, out, text, err)
		}
	})
}

// silentCommand is
//
//	silent tcp|udp ADDRESS:PORT FROM...
//
// A client at each place hears nothing for a second, not even that nobody is
// there.
func silentCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: silent tcp|udp ADDRESS:PORT FROM...")
	}
	eachWay(args[0], args[1], args[2:], func(protocol, address, from string) {
		ask := askSilentTCP
		if protocol == "udp" {
			ask = askSilentUDP
		}
		out, text, err := run(ts, from, words(ask, address)...)
		if err != nil || out != "silence\n" {
			ts.Fatalf("%s %s from %s: %s%s%v", protocol, address, from, out, text, err)
		}
	})
}

// needsCommand is
//
//	needs PROGRAM|/DEVICE...
//
// It skips the script where a program is not installed, or a device may not
// be used; with POPLIN_TEST_REQUIRE=1 it fails.
func needsCommand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		err := needed(name)
		if err == nil {
			continue
		}
		if os.Getenv("POPLIN_TEST_REQUIRE") == "1" {
			ts.Fatalf("needs %s: %v", name, err)
		}
		ts.Value(testingKey{}).(testing.TB).Skipf("needs %s: %v", name, err)
	}
}

// needed finds out whether a program or a device can be used.
func needed(name string) error {
	if !strings.HasPrefix(name, "/dev/") {
		_, err := exec.LookPath(name)
		return err
	}
	device, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return device.Close()
}

// requiresCommand is
//
//	requires REASON PROGRAM ARG...
//
// It skips the script, saying the reason, where the program fails; with
// POPLIN_TEST_REQUIRE=1 it fails.
func requiresCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: requires REASON PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	switch {
	case err == nil:
	case os.Getenv("POPLIN_TEST_REQUIRE") == "1":
		ts.Fatalf("%s: %v", args[0], err)
	default:
		ts.Value(testingKey{}).(testing.TB).Skipf("%s: %v", args[0], err)
	}
}

// testingKey is where setUpLab leaves the script's test.
type testingKey struct{}

// withinCommand is
//
//	within FIGURE PROGRAM ARG...
//
// The program succeeds, in at most five times FIGURE; prints the time.
func withinCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: within FIGURE PROGRAM ARG...")
	}
	figure, err := time.ParseDuration(args[0])
	ts.Check(err)
	start := time.Now()
	name, rest := program(args[1:])
	if err := ts.Exec(name, rest...); err != nil {
		ts.Fatalf("%v: %v", args[1:], err)
	}
	took := time.Since(start).Round(10 * time.Millisecond)
	if took > patience*figure {
		ts.Fatalf("took %s, more than five times the figure %s", took, figure)
	}
	ts.Logf("took %s (figure %s): %v", took, figure, args[1:])
}
