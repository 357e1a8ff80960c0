package linux_test

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
)

var vxlan = reconciler.Link{
	Name: "poplin.1", Type: reconciler.LinkVXLAN, Alias: "poplin test/poplin.1", MAC: reconciler.MAC{2, 0, 0, 0, 1, 1}, MTU: 1450,
	VNI: 1, Port: 8472, Local: netip.MustParseAddr("192.0.2.1"), ChecksumOffload: true,
}

var vtep2 = reconciler.MAC{2, 0, 0, 0, 1, 2}

// vxlanExample is a device with one peer, in the order in which it is made.
func vxlanExample() []reconciler.Object {
	v4, v6 := route("", "10.244.7.0/24", "10.244.7.0", vxlan.Name, 1400), route("", "fd00:7::/64", "fd00:7::", vxlan.Name, 1400)
	v4.Onlink, v6.Onlink = true, true
	return []reconciler.Object{
		vxlan, address("", vxlan.Name, "10.244.1.0/32"), address("", vxlan.Name, "fd00:1::1/128"),
		reconciler.Neighbour{Address: netip.MustParseAddr("10.244.7.0"), Link: vxlan.Name, MAC: vtep2},
		reconciler.Neighbour{Address: netip.MustParseAddr("fd00:7::"), Link: vxlan.Name, MAC: vtep2},
		reconciler.FDBEntry{MAC: vtep2, Link: vxlan.Name, Destination: netip.MustParseAddr("192.0.2.2")},
		v4, v6,
	}
}

func TestVXLAN(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	round := n.settle(t, vxlanExample()...)
	if len(round.Plan) != len(vxlanExample()) {
		t.Errorf("one pass should do: %v", round.Plan)
	}
	reopen(t, n.options).wantState(t, vxlanExample()...)
	shown := ip(t, "-d link show poplin.1")
	for _, want := range []string{"vxlan id 1 local 192.0.2.1 srcport 0 0 dstport 8472 nolearning", "noudpcsum"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in %s", want, shown)
		}
	}
	// In place: another source, another MTU, no offload, another peer.
	moved := vxlan
	moved.Local, moved.MTU, moved.ChecksumOffload = netip.MustParseAddr("192.0.2.9"), 1400, false
	index := ip(t, "-o link show poplin.1")[:3]
	n.settle(t, replace(vxlanExample(), moved, reconciler.FDBEntry{MAC: vtep2, Link: vxlan.Name, Destination: netip.MustParseAddr("192.0.2.3")},
		reconciler.Neighbour{Address: netip.MustParseAddr("10.244.7.0"), Link: vxlan.Name, MAC: reconciler.MAC{2, 9}})...)
	if now := ip(t, "-o link show poplin.1")[:3]; now != index {
		t.Errorf("the link was made anew: %s, not %s", now, index)
	}
	// Anew: another port, another family.
	other := vxlan
	other.Port = 9999
	n.settle(t, replace(vxlanExample(), other)...)
	other.Local = netip.MustParseAddr("2001:db8::1")
	n.settle(t, replace(vxlanExample(), other, reconciler.FDBEntry{MAC: vtep2, Link: vxlan.Name, Destination: netip.MustParseAddr("2001:db8::2")})...)
	n.settle(t)
}

func TestVXLANDriftIsHeardAndMended(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	n.run(t)
	n.settle(t, vxlanExample()...)
	for _, command := range []string{
		"ip neighbour delete 10.244.7.0 dev poplin.1",
		"ip neighbour replace fd00:7:: dev poplin.1 lladdr 02:00:00:00:00:77 nud permanent",
		"ip neighbour add 10.244.9.0 dev poplin.1 lladdr 02:00:00:00:00:77 nud permanent",
		"bridge fdb delete 02:00:00:00:01:02 dev poplin.1 dst 192.0.2.2",
		"bridge fdb add 02:00:00:00:00:77 dev poplin.1 dst 192.0.2.7",
		"ip link set poplin.1 address 02:00:00:00:00:77",
		"ip link set poplin.1 type vxlan id 1 learning",
		"ip link set poplin.1 down",
		"ip link delete poplin.1",
	} {
		n.quiet(t, pause)
		words := strings.Fields(command)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		n.awaitChange(t, command)
		round := n.settle(t, vxlanExample()...)
		if len(round.Plan) == 0 {
			t.Errorf("%s: nothing to mend", command)
		}
	}
	// What others know of their neighbours is nothing to us.
	ip(t, "link add other type bridge")
	ip(t, "link set other up")
	n.quiet(t, pause)
	ip(t, "neighbour add 192.0.2.77 dev other lladdr 02:00:00:00:00:77 nud permanent")
	n.quiet(t, 5*pause)
}
