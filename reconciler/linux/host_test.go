package linux_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/hosttest"
	"github.com/poplin-net/poplin/reconciler/linux"
)

// onFreshHost is hosttest.Fresh of a host that can make TUN devices.
func onFreshHost(t *testing.T) bool {
	t.Helper()
	hosttest.NeedTUN(t)
	return hosttest.Fresh(t)
}

// patience is how long a test waits for what takes milliseconds.
const patience = 10 * time.Second

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ip runs ip(8) as an operator would.
func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

func sysctl(t *testing.T, name string) string {
	t.Helper()
	out, err := os.ReadFile("/proc/sys/" + name)
	must(t, err)
	return strings.TrimSpace(string(out))
}

func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/"+name, []byte(value), 0o644))
}

// node is a target with its state directory.
type node struct {
	*linux.Target
	options linux.Options
}

func newNode(t *testing.T) *node {
	t.Helper()
	return reopen(t, linux.Options{Cluster: "test", StateDir: t.TempDir()})
}

func reopen(t *testing.T, o linux.Options) *node {
	t.Helper()
	target, err := linux.New(o)
	must(t, err)
	t.Cleanup(func() { target.Close() })
	return &node{target, o}
}

// run starts the target's Run for the length of the test.
func (n *node) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// converge brings the host to a state with as many rounds as an engine takes.
func (n *node) converge(t *testing.T, objects ...reconciler.Object) reconciler.Round {
	t.Helper()
	return reconciler.NewEngine(n.Target).Converge(t.Context(), func(reconciler.Observation) (reconciler.Desired, error) {
		return reconciler.Desired{State: stateOf(objects...), Complete: true}, nil
	})
}

// settle is converge that must end in the state.
func (n *node) settle(t *testing.T, objects ...reconciler.Object) reconciler.Round {
	t.Helper()
	round := n.converge(t, objects...)
	if round.Err != nil || len(round.Conflicts) > 0 {
		t.Fatalf("round: %v, conflicts %v", round.Err, round.Conflicts)
	}
	n.wantState(t, objects...)
	return round
}

// wantState compares what the target observes.
func (n *node) wantState(t *testing.T, objects ...reconciler.Object) {
	t.Helper()
	if diff := cmp.Diff(lines(stateOf(objects...)), lines(n.observe(t).State)); diff != "" {
		t.Fatalf("observed (+) is not desired (-):\n%s", diff)
	}
}

func (n *node) observe(t *testing.T) reconciler.Observation {
	t.Helper()
	seen, err := n.Observe(t.Context())
	must(t, err)
	return seen
}

func stateOf(objects ...reconciler.Object) reconciler.State {
	return reconciler.NewState(&reconciler.Group{Name: "test", Objects: objects})
}

func lines(s reconciler.State) []string {
	var out []string
	for _, o := range s.Objects() {
		out = append(out, o.String())
	}
	slices.Sort(out)
	return out
}

// without leaves out the objects of the given keys.
func without(objects []reconciler.Object, keys ...reconciler.Key) []reconciler.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(o reconciler.Object) bool { return slices.Contains(keys, o.Key()) })
}

// replace puts objects into the place of those with the same keys.
func replace(objects []reconciler.Object, by ...reconciler.Object) []reconciler.Object {
	out := slices.Clone(objects)
	for _, b := range by {
		i := slices.IndexFunc(out, func(o reconciler.Object) bool { return o.Key() == b.Key() })
		out[i] = b
	}
	return out
}

// The objects of a host with a bridge, a tunnel device and one pod.
const (
	podNS   = "default_web-1"
	podLink = "pop0123456789ab"
)

var (
	bridge = reconciler.Link{
		Name: "poplin-br0", Type: reconciler.LinkBridge, Alias: "poplin test/poplin-br0",
		MAC: reconciler.MAC{2, 0, 0, 0, 0, 1}, MTU: 1472, CallIPTables: true,
	}
	tun = reconciler.Link{
		Name: "poplin0", Type: reconciler.LinkTUN, Alias: "poplin test/poplin0", MTU: 1472,
		QueueLength: 4000, MultiQueue: true,
	}
	hostEnd = reconciler.Link{
		Name: podLink, Type: reconciler.LinkVeth, Alias: "poplin test/" + podNS, MTU: 1472,
		Master: "poplin-br0", Peer: "eth0", PeerNetns: podNS, Hairpin: true,
	}
	podEnd = reconciler.Link{
		Netns: podNS, Name: "eth0", Type: reconciler.LinkVeth, Alias: "poplin test/" + podNS,
		MAC: reconciler.MAC{2, 0, 0, 0, 0, 2}, MTU: 1472,
	}
	namespace = reconciler.Namespace{Name: podNS}
	forward   = reconciler.Sysctl{Name: "net/ipv4/ip_forward", Value: "1"}
	looseTUN  = reconciler.Sysctl{Link: "poplin0", Name: "net/ipv4/conf/poplin0/rp_filter", Value: "2"}
	podSysctl = reconciler.Sysctl{Netns: podNS, Name: "net/ipv4/ip_unprivileged_port_start", Value: "0"}
)

func address(netns, link, prefix string) reconciler.Address {
	return reconciler.Address{Netns: netns, Link: link, Prefix: netip.MustParsePrefix(prefix)}
}

func route(netns, dst, via, dev string, mtu int) reconciler.Route {
	r := reconciler.Route{Netns: netns, Destination: netip.MustParsePrefix(dst), Link: dev, MTU: mtu}
	if via != "" {
		r.Gateway = netip.MustParseAddr(via)
	}
	return r
}

// example is the whole of it, in the order in which it can be made.
func example() []reconciler.Object {
	host := route("", "10.244.1.0/24", "", "poplin-br0", 0)
	host.Source = netip.MustParseAddr("10.244.1.1")
	return []reconciler.Object{
		namespace, bridge, tun, hostEnd, podEnd, forward, looseTUN, podSysctl,
		address("", "poplin-br0", "10.244.1.1/24"), address("", "poplin-br0", "fd00:1::1/64"),
		address("", "poplin0", "10.244.1.0/32"),
		address(podNS, "eth0", "10.244.1.2/24"), address(podNS, "eth0", "fd00:1::2/64"),
		host, route("", "fd00:1::/64", "", "poplin-br0", 0),
		route("", "10.244.7.0/24", "", "poplin0", 1400), route("", "fd00:7::/64", "", "poplin0", 1400),
		route(podNS, "10.244.1.0/24", "", "eth0", 0), route(podNS, "0.0.0.0/0", "10.244.1.1", "eth0", 0),
		route(podNS, "fd00:1::/64", "", "eth0", 0), route(podNS, "::/0", "fd00:1::1", "eth0", 0),
	}
}
