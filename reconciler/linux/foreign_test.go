package linux_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/linux"
)

func TestForeignThingsAreLeftAlone(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.settle(t, example()...)
	ip(t, "link add foreign0 type veth peer name foreign1")
	ip(t, "link set foreign0 master poplin-br0 up")
	ip(t, "link set foreign1 up")
	ip(t, "address add 192.0.2.1/24 dev foreign1")
	ip(t, "link add other-cluster type bridge")
	if out, err := exec.Command("ip", "link", "set", "other-cluster", "alias", "poplin another/br").CombinedOutput(); err != nil {
		t.Fatalf("alias: %v: %s", err, out)
	}
	ip(t, "route add 198.51.100.0/24 via 192.0.2.9 proto static")
	ip(t, "-n "+podNS+" route add 203.0.113.0/24 dev eth0 proto static")
	ip(t, "netns add other")
	foreign := func() string {
		return ip(t, "-o link show foreign0") + ip(t, "-o link show foreign1") + ip(t, "-o link show other-cluster") +
			ip(t, "address show dev foreign1") + ip(t, "route show proto static") + ip(t, "netns list")
	}
	before := foreign()
	n.wantState(t, example()...)
	n.settle(t, replace(example(), route("", "10.244.7.0/24", "", "poplin0", 1300))...)
	if after := foreign(); after != before {
		t.Errorf("foreign things changed from\n%s\nto\n%s", before, after)
	}
	if !strings.Contains(ip(t, "-n "+podNS+" route"), "203.0.113.0/24") {
		t.Error("a foreign route in a pod is gone")
	}
}

func TestConflicts(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	ip(t, "link add poplin-br0 type bridge")
	ip(t, "netns add "+podNS)
	ip(t, "link add up0 type bridge")
	ip(t, "link set up0 up")
	ip(t, "address add 192.0.2.1/24 dev up0")
	ip(t, "route add 10.244.7.0/24 via 192.0.2.9 proto static")
	n := newNode(t)
	peer := route("", "10.244.7.0/24", "192.0.2.7", "up0", 0)
	round := n.converge(t, append(without(example(), peer.Key()), peer)...)
	var keys []reconciler.Key
	for _, c := range round.Conflicts {
		t.Logf("%s: %s", c.What, c.Remedy)
		keys = append(keys, c.Key)
	}
	for _, key := range []reconciler.Key{bridge.Key(), namespace.Key()} {
		if !slices.Contains(keys, key) {
			t.Errorf("no conflict about %v", key)
		}
	}
	var conflict *reconciler.ConflictError
	if !errors.As(round.Err, &conflict) || conflict.Conflict.Key != peer.Key() {
		t.Errorf("round: %v, want a conflict about the route", round.Err)
	}
	// What does not depend on them is there.
	n.wantState(t, tun, forward, looseTUN, address("", "poplin0", "10.244.1.0/32"),
		route("", "fd00:7::/64", "", "poplin0", 1400))
	if out := ip(t, "route show 10.244.7.0/24"); !strings.Contains(out, "192.0.2.9") {
		t.Errorf("the foreign route was overwritten: %s", out)
	}
	applyConflicts(t, n)
	// The conflicts are heard when they go.
	n.run(t)
	n.observe(t)
	ip(t, "link delete poplin-br0")
	n.awaitChange(t, "the end of a conflict")
	ip(t, "netns delete "+podNS)
	ip(t, "route delete 10.244.7.0/24")
	n.settle(t, example()...)
}

// applyConflicts applies what is in conflict all the same.
func applyConflicts(t *testing.T, n *node) {
	t.Helper()
	// Each conflict is its operation's error.
	plan := reconciler.Plan{
		{Verb: reconciler.Add, After: bridge}, {Verb: reconciler.Add, After: namespace}, {Verb: reconciler.Add, After: hostEnd},
		{Verb: reconciler.Delete, Before: bridge},
	}
	err := n.Apply(t.Context(), plan[:2], reconciler.State{})
	if got := strings.Count(err.Error(), "is not poplin's"); got != 2 {
		t.Errorf("Apply: %v", err)
	}
	if err := n.Apply(t.Context(), plan[:3], reconciler.State{}); !errors.Is(err, reconciler.ErrSkipped) {
		t.Errorf("Apply: %v", err)
	}
	must(t, n.Apply(t.Context(), plan[3:], reconciler.State{}))
	ip(t, "link show poplin-br0")
}

func TestLostStateDirectory(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.settle(t, example()...)
	must(t, n.Close())
	must(t, os.RemoveAll(n.options.StateDir))
	again := reopen(t, n.options)
	round := again.settle(t, example()...)
	for _, op := range round.Plan {
		if op.Object().Kind() != reconciler.KindSysctl {
			t.Errorf("not adopted: %s", op)
		}
	}
}

func TestLeftoverFile(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.settle(t, example()...)
	must(t, unix.Unmount("/run/netns/"+podNS, unix.MNT_DETACH))
	n.settle(t, example()...)
	must(t, os.WriteFile("/run/netns/default_other", nil, 0o644))
	seen := n.observe(t)
	if len(seen.Conflicts) != 1 || seen.Conflicts[0].Key != (reconciler.NamespaceKey{Name: "default_other"}) {
		t.Errorf("conflicts: %v", seen.Conflicts)
	}
}

func TestReadOnly(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.settle(t, example()...)
	o := n.options
	o.ReadOnly = true
	viewer := reopen(t, o)
	viewer.wantState(t, example()...)
	if err := viewer.Apply(t.Context(), nil, reconciler.State{}); err == nil {
		t.Error("a read-only target applies")
	}
	o.StateDir += "/none"
	reopen(t, o).observe(t)
	if _, err := os.Stat(o.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a read-only target made its state directory: %v", err)
	}
}

func TestOrphans(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.settle(t, namespace)
	sleeper := exec.Command("sleep", "60")
	must(t, linux.InNamespace("/run/netns/"+podNS, sleeper.Start))
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	n.settle(t)
	want := []linux.Orphan{{Namespace: podNS, PID: sleeper.Process.Pid}}
	if got := n.Orphans(); !slices.Equal(got, want) {
		t.Errorf("orphans %v, want %v", got, want)
	}
	n.settle(t, namespace)
	if got := n.Orphans(); !slices.Equal(got, want) {
		t.Errorf("with a new namespace: orphans %v, want %v", got, want)
	}
	must(t, sleeper.Process.Kill())
	_ = sleeper.Wait()
	eventually(t, "no orphans", func() bool { return len(n.Orphans()) == 0 })
}
