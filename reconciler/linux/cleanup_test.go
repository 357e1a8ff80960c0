package linux_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/linux"
)

const (
	redirects = "net/ipv4/conf/all/accept_redirects"
	forwardUp = "net/ipv4/conf/up0/forwarding"
)

// hostDump is what ip(8) and the settings say of a host.
func hostDump(t *testing.T) string {
	t.Helper()
	out := ip(t, "-br link") + ip(t, "-br address") + ip(t, "route show table all") + ip(t, "-6 route show table main") + ip(t, "netns list")
	for _, name := range []string{"net/ipv4/ip_forward", redirects, forwardUp, "net/ipv4/conf/lo/forwarding", "net/ipv4/conf/lo/rp_filter"} {
		out += name + "=" + sysctl(t, name) + "\n"
	}
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		out += "mount " + strings.Fields(line)[4] + "\n"
	}
	return out
}

func TestCleanupRestores(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	ip(t, "link add up0 type bridge")
	ip(t, "address add 192.0.2.1/24 dev up0")
	setSysctl(t, redirects, "0") // hardened
	setSysctl(t, forwardUp, "1") // and one link forwards already
	before := hostDump(t)
	n := newNode(t)
	loRP := reconciler.Sysctl{Name: "net/ipv4/conf/lo/rp_filter", Value: "2"}
	state := append(example(), loRP)
	n.settle(t, state...)
	must(t, n.Cleanup(t.Context(), linux.CleanupOptions{}))
	n.wantState(t)
	if sysctl(t, "net/ipv4/ip_forward") != "1" {
		t.Error("forwarding was turned off unasked")
	}
	must(t, n.Cleanup(t.Context(), linux.CleanupOptions{RestoreSysctls: true}))
	if after := hostDump(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	for _, file := range []string{"sysctls.json", "namespaces.json"} {
		if _, err := os.Stat(filepath.Join(n.options.StateDir, file)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", file, err)
		}
	}
	must(t, n.Cleanup(t.Context(), linux.CleanupOptions{RestoreSysctls: true}))
	// The target still works.
	n.settle(t, state...)
}

func TestSysctlsOfOthersAreKept(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	ip(t, "link add up0 type bridge")
	setSysctl(t, "net/ipv4/conf/up0/rp_filter", "1")
	n := newNode(t)
	rp := reconciler.Sysctl{Name: "net/ipv4/conf/up0/rp_filter", Value: "2"}
	n.settle(t, forward, rp)
	// Somebody else changes both a setting of ours and one that changed with it.
	setSysctl(t, "net/ipv4/conf/up0/rp_filter", "0")
	setSysctl(t, redirects, "1")
	must(t, n.Cleanup(t.Context(), linux.CleanupOptions{RestoreSysctls: true}))
	for name, want := range map[string]string{
		"net/ipv4/conf/up0/rp_filter": "0", redirects: "1", "net/ipv4/ip_forward": "0",
	} {
		if got := sysctl(t, name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
	// What was right before us stays so.
	setSysctl(t, "net/ipv4/ip_forward", "1")
	n.settle(t, forward)
	must(t, n.Cleanup(t.Context(), linux.CleanupOptions{RestoreSysctls: true}))
	if sysctl(t, "net/ipv4/ip_forward") != "1" {
		t.Error("forwarding that was on before us is off")
	}
	// A setting that is not asked for any more is put back at once.
	setSysctl(t, "net/ipv4/conf/up0/rp_filter", "1")
	n.settle(t, rp)
	again := reopen(t, n.options)
	again.settle(t)
	if got := sysctl(t, "net/ipv4/conf/up0/rp_filter"); got != "1" {
		t.Errorf("rp_filter=%s, want 1", got)
	}
}

// The list of reserved ports is everybody's: ours are added to it, and only
// what we added is taken out.
func TestReservedPortsAreShared(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	const list = "net/ipv4/ip_local_reserved_ports"
	want := func(text string) {
		t.Helper()
		if got := sysctl(t, list); got != text {
			t.Errorf("the list is %s, not %s", got, text)
		}
	}
	setSysctl(t, list, "8080,30100,32000-33000")
	n := newNode(t)
	ports := func(text string) reconciler.Sysctl { return reconciler.Sysctl{Name: list, Value: text} }
	n.settle(t, ports("30000-32767"))
	want("8080,30000-33000")
	n.wantState(t, ports("30000-32767"))
	// Others add theirs, and remove some of ours.
	setSysctl(t, list, "8080,9090,30100-33000")
	n.settle(t, ports("30000-32767"))
	want("8080,9090,30000-33000")
	n.settle(t, ports("30000-30200"))
	want("8080,9090,30000-30200,32000-33000")
	n = reopen(t, n.options)
	n.settle(t, ports("30000-30200"))
	n.settle(t)
	want("8080,9090,30100,32000-33000")
	n.settle(t, ports("40000-40000"))
	want("8080,9090,30100,32000-33000,40000")
	must(t, n.Cleanup(t.Context(), linux.CleanupOptions{RestoreSysctls: true}))
	want("8080,9090,30100,32000-33000")
	setSysctl(t, list, "\n")
	n.settle(t, ports("30000-32767"))
	want("30000-32767")
	n.settle(t)
	want("")
}
