package linux_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler/hosttest"
	"github.com/poplin-net/poplin/reconciler/linux"
)

func TestUnderlay(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.run(t)
	n.observe(t)
	if u, err := n.Underlay(t.Context(), ""); err == nil {
		t.Errorf("an underlay out of nothing: %v", u)
	}
	ip(t, "link add up0 mtu 1450 type bridge")
	ip(t, "link set up0 up")
	ip(t, "address add 192.0.2.1/24 dev up0")
	ip(t, "address add 192.0.2.2/24 dev up0")
	ip(t, "address add 2001:db8::1/64 dev up0 nodad")
	ip(t, "link add up1 type bridge")
	ip(t, "link set up1 up")
	ip(t, "address add 198.51.100.1/24 dev up1")
	ip(t, "route add default via 192.0.2.254")
	n.awaitChange(t, "the default route")
	wantUnderlays(t, n)
	for _, change := range []string{
		"link set up0 mtu 1400", "address delete 192.0.2.2/24 dev up0", "link set up0 down", "link set up0 up",
	} {
		n.quiet(t, 50*time.Millisecond)
		ip(t, change)
		n.awaitChange(t, change)
	}
}

// wantUnderlays asks for the underlay in every way.
func wantUnderlays(t *testing.T, n *node) {
	t.Helper()
	v6 := netip.MustParseAddr("2001:db8::1")
	up0 := func(first string) linux.Underlay {
		return linux.Underlay{
			Addresses: []netip.Addr{netip.MustParseAddr(first), v6}, Link: "up0", MTU: 1450, Up: true,
			Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		}
	}
	up1 := linux.Underlay{
		Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, Link: "up1", MTU: 1500, Up: true,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	}
	v6First := up0("192.0.2.1")
	slices.Reverse(v6First.Addresses)
	for choice, want := range map[string]linux.Underlay{
		"can-reach:2001:db8::9": v6First,
		"":                      up0("192.0.2.1"), "up0": up0("192.0.2.1"), "192.0.2.2": up0("192.0.2.2"), "can-reach:203.0.113.1": up0("192.0.2.1"),
		"up1": up1, "can-reach:198.51.100.9": up1,
	} {
		got, err := n.Underlay(t.Context(), choice)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
			cmpopts.IgnoreFields(linux.Underlay{}, "LinkIndex")); err != nil || diff != "" || got.LinkIndex == 0 {
			t.Errorf("%q: %v\n%s", choice, err, diff)
		}
	}
	for _, choice := range []string{"none0", "192.0.2.99", "can-reach:nobody"} {
		if u, err := n.Underlay(t.Context(), choice); err == nil {
			t.Errorf("%q: %v", choice, u)
		}
	}
}

func TestFacts(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	_, err := os.Stat("/proc/sys/net/bridge")
	if f, factsErr := newNode(t).Facts(t.Context()); factsErr != nil || f.BridgeNetfilter != (err == nil) {
		t.Errorf("facts %v, %v; /proc/sys/net/bridge: %v", f, factsErr, err)
	}
}

// hiddenEnv asks a re-executed test binary to make a pod from a mount
// namespace of its own; it holds the path of the one to bind it in.
const hiddenEnv = "POPLIN_LINUX_TEST_HIDDEN"

func TestOwnMountNamespace(t *testing.T) {
	if path := os.Getenv(hiddenEnv); path != "" {
		hiddenDaemon(t, path)
		return
	}
	if !onFreshHost(t) {
		return
	}
	must(t, os.MkdirAll("/run/netns", 0o755))
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), hiddenEnv+fmt.Sprintf("=/proc/%d/ns/mnt", os.Getpid()))
	cmd.SysProcAttr = hosttest.Namespaces(unix.CLONE_NEWNS)
	cmd.SysProcAttr.Cloneflags &^= unix.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = nil, nil
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	must(t, err)
	kind, err := exec.Command("stat", "-f", "-c", "%T", "/run/netns/"+podNS).CombinedOutput()
	if err != nil || strings.TrimSpace(string(kind)) != "nsfs" {
		t.Errorf("outside it is %s, %v", kind, err)
	}
	if out := ip(t, "-n "+podNS+" link show lo"); !strings.Contains(out, "UP") {
		t.Errorf("loopback: %s", out)
	}
}

// hiddenDaemon makes a pod that shows in the mount namespace at path, while
// its own /run is hidden from there.
func hiddenDaemon(t *testing.T, path string) {
	must(t, unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"))
	n := reopen(t, linux.Options{Cluster: "test", StateDir: t.TempDir(), MountNS: path})
	n.run(t)
	n.settle(t, example()...)
	if _, err := os.Stat("/run/netns"); err == nil {
		t.Error("bound in the daemon's own mount namespace")
	}
	n.quiet(t, 50*time.Millisecond)
	n.settle(t)
	n.settle(t, example()...)
}
