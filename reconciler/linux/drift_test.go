package linux_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// quiet waits until nothing signals for a while, and fails if it never ends.
func (n *node) quiet(t *testing.T, pause time.Duration) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case <-n.Changes():
			n.observe(t)
		case <-time.After(pause):
			return
		case <-deadline:
			t.Fatal("changes never end")
		}
	}
}

// awaitChange waits for a signal.
func (n *node) awaitChange(t *testing.T, what string) time.Duration {
	t.Helper()
	start := time.Now()
	select {
	case <-n.Changes():
		return time.Since(start)
	case <-time.After(patience):
		t.Fatalf("%s: no change within %v", what, patience)
	}
	return 0
}

// drift is what somebody does by hand.
type drift struct {
	name string
	by   func()
	// after is a line of what is observed then, gone one that is not.
	after, gone string
}

func drifts(t *testing.T) []drift {
	pod := "-n " + podNS + " "
	return []drift{
		{"bridge", func() { ip(t, "link delete poplin-br0") }, "", bridge.String()},
		{"tunnel device", func() { ip(t, "link delete poplin0") }, "", tun.String()},
		{"route to a peer", func() { ip(t, "route delete 10.244.7.0/24") }, "", "route 10.244.7.0/24 dev poplin0 mtu 1400"},
		{"IPv6 route", func() { ip(t, "-6 route delete fd00:7::/64") }, "", "route fd00:7::/64 dev poplin0 mtu 1400"},
		{"route's MTU", func() { ip(t, "route change 10.244.7.0/24 dev poplin0 proto 112 mtu 1300") }, "route 10.244.7.0/24 dev poplin0 mtu 1300", ""},
		{"veth, host's end", func() { ip(t, "link delete "+podLink) }, "", podEnd.String()},
		{"veth, pod's end", func() { ip(t, pod+"link delete eth0") }, "", hostEnd.String()},
		{"bridge's address", func() { ip(t, "address delete 10.244.1.1/24 dev poplin-br0") }, "", "address 10.244.1.1/24 dev poplin-br0"},
		{"extra address", func() { ip(t, "address add 10.9.9.9/24 dev poplin-br0") }, "address 10.9.9.9/24 dev poplin-br0", ""},
		{"pod's address", func() { ip(t, pod+"address delete 10.244.1.2/24 dev eth0") }, "", "address netns " + podNS + " 10.244.1.2/24 dev eth0"},
		{"pod's route", func() { ip(t, pod+"route delete default") }, "", "route netns " + podNS + " 0.0.0.0/0 via 10.244.1.1 dev eth0"},
		{"pod's loopback", func() { ip(t, pod+"link set lo down") }, "netns " + podNS + " damaged: loopback is down", ""},
		{"pod's link down", func() { ip(t, pod+"link set eth0 down") }, podEnd.String() + " down", ""},
		{"pod's MAC", func() { ip(t, pod+"link set eth0 address 02:00:00:00:00:99") }, "", podEnd.String()},
		{"bridge down", func() { ip(t, "link set poplin-br0 down") }, bridge.String() + " down", ""},
		{"MTU", func() { ip(t, "link set poplin-br0 mtu 1300") }, "", bridge.String()},
		{"bridge's netfilter", func() { ip(t, "link set poplin-br0 type bridge nf_call_iptables 0") }, "", bridge.String()},
		{"port", func() { ip(t, "link set "+podLink+" nomaster") }, "", hostEnd.String()},
		{"hairpin", func() { ip(t, "link set "+podLink+" type bridge_slave hairpin off") }, "", hostEnd.String()},
		{"forwarding", func() { setSysctl(t, "net/ipv4/ip_forward", "0") }, "sysctl net/ipv4/ip_forward=0", ""},
		{"namespace", func() { ip(t, "netns delete "+podNS) }, "", "netns " + podNS},
		{"unmounted namespace", func() { must(t, unix.Unmount("/run/netns/"+podNS, unix.MNT_DETACH)); ip(t, "netns delete "+podNS) }, "", "netns " + podNS},
	}
}

func TestDriftIsHeardAndMended(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.run(t)
	n.settle(t, example()...)
	for _, tc := range drifts(t) {
		n.quiet(t, 50*time.Millisecond)
		tc.by()
		took := n.awaitChange(t, tc.name)
		seen := lines(n.observe(t).State)
		text := "\n" + strings.Join(seen, "\n") + "\n"
		if tc.after != "" && !strings.Contains(text, "\n"+tc.after+"\n") {
			t.Errorf("%s: observed no %s in%s", tc.name, tc.after, text)
		}
		if tc.gone != "" && strings.Contains(text, "\n"+tc.gone+"\n") {
			t.Errorf("%s: still observed: %s", tc.name, tc.gone)
		}
		start := time.Now()
		n.settle(t, example()...)
		t.Logf("%s: heard in %v, mended in %v", tc.name, took, time.Since(start))
	}
}

func TestChangesInPlace(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.settle(t, example()...)
	smallBridge, smallPod, smallHost, smallTUN := bridge, podEnd, hostEnd, tun
	smallBridge.MTU, smallPod.MTU, smallHost.MTU, smallTUN.MTU = 1400, 1400, 1400, 1400
	otherMAC := podEnd
	otherMAC.MAC = reconciler.MAC{2, 0, 0, 0, 0, 7}
	isolated := hostEnd
	isolated.Hairpin, isolated.Isolated = false, true
	quietBridge := bridge
	quietBridge.CallIPTables, quietBridge.CallIP6Tables = false, true
	shortQueue, defaultQueue := tun, tun
	shortQueue.QueueLength, defaultQueue.QueueLength = 2000, 0
	moved := []reconciler.Object{
		address(podNS, "eth0", "10.244.1.9/24"), address("", "poplin0", "10.244.1.8/32"),
	}
	for name, state := range map[string][]reconciler.Object{
		"MTU":    replace(example(), smallBridge, smallPod, smallHost, smallTUN),
		"MAC":    replace(example(), otherMAC),
		"flags":  replace(example(), isolated, quietBridge),
		"queue":  replace(example(), shortQueue),
		"queue0": replace(example(), defaultQueue),
		"address": append(without(example(), moved[0].Key(), address(podNS, "eth0", "10.244.1.2/24").Key(),
			address("", "poplin0", "10.244.1.0/32").Key()), moved...),
		"routes": replace(example(),
			route("", "10.244.7.0/24", "", "poplin0", 1300), route("", "fd00:7::/64", "", "poplin0", 1300),
			route(podNS, "0.0.0.0/0", "10.244.1.254", "eth0", 0), route(podNS, "::/0", "fd00:1::fe", "eth0", 1400)),
		"routes move": replace(example(),
			route("", "10.244.7.0/24", "10.244.1.77", "poplin-br0", 0), route("", "fd00:7::/64", "fd00:1::77", "poplin-br0", 0)),
	} {
		before := ip(t, "-n "+podNS+" -o link show eth0")
		if round := n.settle(t, state...); len(round.Plan) == 0 {
			t.Errorf("%s: nothing to do", name)
		}
		for _, show := range []string{"-4 route show 10.244.7.0/24", "-6 route show fd00:7::/64"} {
			if out := ip(t, show); strings.Count(out, "\n") != 1 {
				t.Errorf("%s: %s shows not one route: %s", name, show, out)
			}
		}
		n.settle(t, example()...)
		if after := ip(t, "-n "+podNS+" -o link show eth0"); after[:4] != before[:4] {
			t.Errorf("%s: eth0 was made anew: %s → %s", name, before, after)
		}
	}
}

func TestNothingHeardWhenNothingChanges(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.run(t)
	n.settle(t, example()...)
	n.quiet(t, 500*time.Millisecond)
	// Foreign work beside ours.
	for range 5 {
		ip(t, "link add dummy7 type bridge")
		ip(t, "link set dummy7 up")
		ip(t, "address add 192.0.2.7/24 dev dummy7")
		ip(t, "route add 198.51.100.0/24 via 192.0.2.1 proto static")
		ip(t, "link delete dummy7")
		ip(t, "netns add other")
		ip(t, "netns delete other")
	}
	select {
	case <-n.Changes():
		t.Error("foreign noise or our own work is heard as a change")
	case <-time.After(2 * time.Second):
	}
	n.wantState(t, example()...)
}

// poorEnv asks a re-executed test binary to do without CAP_NET_BROADCAST.
const poorEnv = "POPLIN_LINUX_TEST_POOR"

func TestDriftWithoutBroadcastCapability(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	if os.Getenv(poorEnv) == "" {
		self, err := os.Executable()
		must(t, err)
		cmd := exec.Command("setpriv", "--inh-caps=-net_broadcast", "--bounding-set=-net_broadcast", self, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), poorEnv+"=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		must(t, err)
		return
	}
	n := newNode(t)
	n.run(t)
	n.settle(t, example()...)
	n.quiet(t, 100*time.Millisecond)
	ip(t, "route delete 10.244.7.0/24")
	n.awaitChange(t, "route to a peer")
	n.settle(t, example()...)
	n.quiet(t, 100*time.Millisecond)
	ip(t, "-n "+podNS+" address delete 10.244.1.2/24 dev eth0")
	t.Logf("heard in %v", n.awaitChange(t, "pod's address"))
	n.settle(t, example()...)
}
