//go:build linux

package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func named(name string, addresses ...string) Node {
	n := Node{Name: name}
	for _, a := range addresses {
		n.Addresses = append(n.Addresses, netip.MustParseAddr(a))
	}
	return n
}

func texts(addresses []netip.Addr) string {
	var out []string
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func TestTopology(t *testing.T) {
	defaults, err := DefaultNodes(2)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		nodes []Node
		want  []string // a host a line: name, addresses, gateways
		error string
	}{
		{name: "defaults", nodes: defaults, want: []string{
			"node-1 | 192.0.2.1 2001:db8::1 | 192.0.2.254 2001:db8::254",
			"node-2 | 192.0.2.2 2001:db8::2 | 192.0.2.254 2001:db8::254",
			"client | 192.0.2.254 2001:db8::254 | ",
		}},
		{name: "several networks", nodes: []Node{named("a", "10.1.0.1"), named("b", "10.2.0.1"), named("c", "10.1.0.2")}, want: []string{
			"a | 10.1.0.1 | 10.1.0.254",
			"b | 10.2.0.1 | 10.2.0.254",
			"c | 10.1.0.2 | 10.1.0.254",
			"client | 10.1.0.254 10.2.0.254 |  forwards",
		}},
		{name: "IPv6 first", nodes: []Node{named("a", "2001:db8:5::9", "10.1.0.1")}, want: []string{
			"a | 2001:db8:5::9 10.1.0.1 | 2001:db8:5::254 10.1.0.254",
			"client | 2001:db8:5::254 10.1.0.254 | ",
		}},
		{name: "one address twice", nodes: []Node{named("a", "10.1.0.1"), named("b", "10.1.0.1")}, error: "nodes a and b have one address 10.1.0.1"},
		{name: "the client's address", nodes: []Node{named("a", "10.1.0.254")}, error: "node a: address 10.1.0.254 is the lab client's"},
		{name: "the client's name", nodes: []Node{named("client", "10.1.0.1")}, error: `a node cannot be named "client" in the lab`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hosts, err := Topology(test.nodes)
			if err != nil || test.error != "" {
				if err == nil || err.Error() != test.error {
					t.Fatalf("error %v, want %s", err, test.error)
				}
				return
			}
			var got []string
			for _, h := range hosts {
				line := h.Name + " | " + texts(h.Addresses) + " | " + texts(h.Gateways)
				if h.Forwards {
					line += " forwards"
				}
				got = append(got, line)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDefaultNodesLimits(t *testing.T) {
	for _, count := range []int{0, -1, 251} {
		if _, err := DefaultNodes(count); err == nil {
			t.Errorf("%d nodes: no error", count)
		}
	}
}

// Where nothing else names peers, every daemon is told of all others, and
// exactly one that it is the first.
func TestDaemonArguments(t *testing.T) {
	nodes, err := DefaultNodes(3)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := Topology(nodes)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{
		strings.Join(daemonArguments(hosts, 0, true), " "),
		strings.Join(daemonArguments(hosts, 2, true), " "),
		strings.Join(daemonArguments(hosts, 2, false), " "),
	}
	want := []string{
		"run --exec-probes --node node-1 --key-file /run/poplin-lab/gossip.key --join 192.0.2.2,192.0.2.3 --bootstrap",
		"run --exec-probes --node node-3 --key-file /run/poplin-lab/gossip.key --join 192.0.2.1,192.0.2.2",
		"run --exec-probes --node node-3 --key-file /run/poplin-lab/gossip.key",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
