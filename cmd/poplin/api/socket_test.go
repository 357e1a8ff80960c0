package api

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/schema"
)

// fakeDaemon answers what it holds, and notes what it was asked.
type fakeDaemon struct {
	status Status
	plan   Plan
	state  State
	err    error

	asked []string
	tree  *Tree
}

func (f *fakeDaemon) Status() Status { return f.status }
func (f *fakeDaemon) Count(_ context.Context, s *Status) error {
	s.ServiceList = []Service{{Name: "web", Frontends: []Frontend{
		{Kind: "nodePort", Family: "IPv4", Protocol: "TCP", Port: 30080, Counters: &Counters{Connections: 1, Packets: 2, Bytes: 3}},
		{Kind: "clusterIP", Family: "IPv4", Address: netip.MustParseAddr("10.96.0.1"), Protocol: "TCP", Port: 80},
	}}}
	return f.err
}
func (f *fakeDaemon) Plan(_ context.Context, tree *Tree) (Plan, error) {
	f.tree = tree
	return f.plan, f.err
}
func (f *fakeDaemon) State(context.Context) (State, error) { return f.state, f.err }
func (f *fakeDaemon) ExplainService(_ context.Context, namespace, name string) (ServiceExplanation, error) {
	return ServiceExplanation{Namespace: namespace, Name: name, Selector: map[string]string{"app": "web"}}, f.err
}
func (f *fakeDaemon) ExplainPacket(_ context.Context, q PacketQuery) (PacketExplanation, error) {
	return PacketExplanation{To: q.To.String(), From: PacketEnd{Pod: q.From}}, f.note("explain packet")
}
func (f *fakeDaemon) Rekey() error { return f.note("rekey") }
func (f *fakeDaemon) Environment(namespace string) (Environment, error) {
	return Environment{Kind: "Environment", Namespace: namespace, Variables: []Variable{{"A", "b=c"}}}, f.err
}
func (f *fakeDaemon) Reload(context.Context) error { return f.note("reload") }
func (f *fakeDaemon) Ack(revision string) error    { return f.note("ack " + revision) }
func (f *fakeDaemon) Release(what string) error    { return f.note("release " + what) }

func (f *fakeDaemon) note(what string) error {
	f.asked = append(f.asked, what)
	return f.err
}

// serve runs a server over a socket until the test ends.
func serve(t *testing.T, b Backend) *Client {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	l, err := Listen(dir, os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, b) }()
	client := NewClient(dir)
	t.Cleanup(func() {
		client.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return client
}

var sameAddresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestStatusAndStateArriveAsTheyWere(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	link := reconciler.Link{Name: "poplin-br0", Type: reconciler.LinkBridge, MTU: 1472}
	daemon := &fakeDaemon{
		status: Status{
			APIVersion: APIVersion, Kind: "Status", Node: "node-1", Ready: true, Accepted: &at,
			Rejected: &Rejected{Revision: "main@bad", Diagnostics: []schema.Diagnostic{{Severity: schema.Error, File: "a.yaml", Line: 3, Message: "no"}}},
			Pods:     []Pod{{Namespace: "default", Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.2")}}},
			Dropped:  map[string]int{"short": 2},
		},
		state: State{
			APIVersion: APIVersion, Kind: "State", Node: "node-1",
			Underlay:     compile.Underlay{Link: "eth0", MTU: 1500, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
			PodAddresses: map[schema.Name][]netip.Addr{{Namespace: "default", Name: "web"}: {netip.MustParseAddr("10.244.1.2")}},
			Observed:     reconciler.NewState(&reconciler.Group{Name: "observed", Objects: []reconciler.Object{link}}),
		},
	}
	client := serve(t, daemon)
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(daemon.status, status, sameAddresses); diff != "" {
		t.Errorf("status:\n%s", diff)
	}
	state, err := client.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(daemon.state.PodAddresses, state.PodAddresses, sameAddresses); diff != "" || state.Underlay.Link != "eth0" {
		t.Errorf("state %+v:\n%s", state.Underlay, diff)
	}
	if plan := reconciler.Diff(daemon.state.Observed, state.Observed); len(plan) != 0 {
		t.Errorf("observed differs: %v", plan)
	}
}

func TestCountersComeOnlyWhenAskedFor(t *testing.T) {
	daemon := &fakeDaemon{}
	client := serve(t, daemon)
	plain, err := client.Status(t.Context())
	if err != nil || plain.ServiceList != nil {
		t.Errorf("%+v, %v", plain, err)
	}
	var want Status
	if err := daemon.Count(t.Context(), &want); err != nil {
		t.Fatal(err)
	}
	got, err := client.StatusCounted(t.Context())
	if diff := cmp.Diff(want, got, sameAddresses); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	daemon.err = errors.New("no table")
	if _, err := client.StatusCounted(t.Context()); err == nil || err.Error() != "no table" {
		t.Error(err)
	}
}

func TestExplanationsArrive(t *testing.T) {
	daemon := &fakeDaemon{}
	client := serve(t, daemon)
	for _, name := range []string{"web", "we b/../x", "?"} {
		if got, err := client.ExplainService(t.Context(), "default", name); err != nil || got.Name != name || got.Selector["app"] != "web" {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	daemon.err = &UnknownError{"there is no service default/web"}
	var unknown *UnknownError
	if _, err := client.ExplainService(t.Context(), "default", "web"); !errors.As(err, &unknown) || err.Error() != daemon.err.Error() {
		t.Error(err)
	}
}

func TestPlanTakesATree(t *testing.T) {
	daemon := &fakeDaemon{plan: Plan{APIVersion: APIVersion, Kind: "Plan", Node: "node-1", Operations: []Operation{{Verb: "add", After: "route x"}}}}
	client := serve(t, daemon)
	for _, tree := range []*Tree{nil, {Revision: "main@1", Files: []schema.File{{Path: "a.yaml", Content: []byte("kind: X\n\x00")}}}} {
		plan, err := client.Plan(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(daemon.plan, plan); diff != "" {
			t.Errorf("plan:\n%s", diff)
		}
		if diff := cmp.Diff(tree, daemon.tree); diff != "" {
			t.Errorf("tree:\n%s", diff)
		}
	}
}

func TestCommandsArriveWithTheirWords(t *testing.T) {
	daemon := &fakeDaemon{}
	client := serve(t, daemon)
	for _, err := range []error{client.Reload(t.Context()), client.Ack(t.Context(), "feature/a&b@1 2"), client.Release(t.Context(), "10.244.1.0/24"), client.Rekey(t.Context())} {
		if err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"reload", "ack feature/a&b@1 2", "release 10.244.1.0/24", "rekey"}, daemon.asked); diff != "" {
		t.Error(diff)
	}
}

func TestPacketQueriesArriveAsTheyWere(t *testing.T) {
	client := serve(t, &fakeDaemon{})
	for _, to := range []string{"10.96.0.10:80/tcp", "[fd96::10]:53/udp", "fd96::10", "192.0.2.1:30080/sctp"} {
		target, err := ParsePacketTarget(to)
		if err != nil {
			t.Error(err)
		}
		trace, err := client.ExplainPacket(t.Context(), PacketQuery{From: "default/web 1&2", To: target})
		if err != nil || trace.To != to || trace.From.Pod != "default/web 1&2" {
			t.Errorf("%s: %+v, %v", to, trace, err)
		}
	}
	for _, to := range []string{"", "10.96.0.10:0", "10.96.0.10:80/icmp", "10.96.0.10/udp", "web:80", "fd96::10:80/tcp"} {
		if target, err := ParsePacketTarget(to); err == nil {
			t.Errorf("%q became %s", to, target)
		}
	}
}

func TestErrorsArrive(t *testing.T) {
	daemon := &fakeDaemon{err: errors.New("no revision is held back")}
	client := serve(t, daemon)
	if err := client.Ack(t.Context(), "x"); err == nil || err.Error() != "no revision is held back" || errors.Is(err, ErrUnreachable) {
		t.Errorf("ack: %v", err)
	}
	daemon.err = &InvalidError{[]schema.Diagnostic{{Severity: schema.Error, File: "web.yaml", Line: 3, Message: "no"}}}
	var invalid *InvalidError
	if _, err := client.Plan(t.Context(), nil); !errors.As(err, &invalid) || len(invalid.Diagnostics) != 1 || invalid.Diagnostics[0].File != "web.yaml" {
		t.Errorf("plan: %v", err)
	}
}

func TestNoDaemonIsUnreachable(t *testing.T) {
	client := NewClient(t.TempDir())
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("without a socket: %v", err)
	}
	refused := errors.New("refused")
	client = NewClientOver(func(context.Context) (net.Conn, error) { return nil, refused })
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("over a dial that fails: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	first, err := Listen(dir, -1)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("the socket: %v %v", info.Mode(), err)
	}
	if _, err := Listen(dir, -1); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("a second daemon: %v", err)
	}
	// A socket that a killed daemon left behind is in nobody's way.
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(dir, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestEnvironmentArrivesAsItWas(t *testing.T) {
	got, err := serve(t, &fakeDaemon{}).Environment(t.Context(), "a/b")
	want := Environment{Kind: "Environment", Namespace: "a/b", Variables: []Variable{{"A", "b=c"}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v:\n%s", err, diff)
	}
}
