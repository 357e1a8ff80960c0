package nft

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// web is a state with something in most sets of both families.
func web() reconciler.State {
	at := netip.MustParseAddrPort
	two := []netip.AddrPort{at("10.244.1.2:80"), at("10.244.2.2:80")}
	two6 := []netip.AddrPort{at("[fd24::2]:80"), at("[fd24:0:0:1::2]:80")}
	h := host(map[reconciler.SetName][]string{
		reconciler.SetNodePortAddresses: {"192.0.2.1/32", "2001:db8::1/128"},
		reconciler.SetServiceRanges:     {"10.96.0.0/16", "fd96::/112"},
		reconciler.SetPodRanges:         {"10.244.0.0/16", "fd24::/48"},
		reconciler.SetLocalSubnets:      {"10.244.1.0/24", "fd24::/64"},
		reconciler.SetPeerSubnets:       {"10.244.2.0/24", "10.244.3.0/24", "fd24:0:0:1::/64"},
		reconciler.SetMasqueradeSubnets: {"10.244.1.0/24", "fd24::/64"},
		reconciler.SetMasqueradeExclude: {"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"},
	})
	for _, f := range families() {
		vip, pod := netip.MustParseAddr("10.96.0.1"), two[0].Addr()
		if f == reconciler.IPv6 {
			vip, pod = netip.MustParseAddr("fd96::1"), two6[0].Addr()
		}
		h.Objects = append(h.Objects,
			reconciler.Element{Family: f, Set: reconciler.SetClusterAddresses, Address: vip},
			reconciler.Element{Family: f, Set: reconciler.SetHairpin, Address: pod},
			reconciler.Element{Family: f, Set: reconciler.SetTunnelPorts, Protocol: reconciler.UDP, Port: 8472, Chain: reconciler.ChainGuardPort},
			reconciler.Element{Family: f, Set: reconciler.SetUnknownPeers, Protocol: reconciler.UDP, Port: 8472},
			reconciler.Element{Family: f, Set: reconciler.SetTunnelPeers, Address: pod},
			reconciler.Element{Family: f, Set: reconciler.SetGuardedLinks, Link: "poplin.1", Chain: reconciler.ChainGuardTunnel},
			reconciler.Element{Family: f, Set: reconciler.SetGuardedLinks, Link: "a-long-name.100", Chain: reconciler.ChainGuardDirect},
			reconciler.Element{Family: f, Set: reconciler.SetForeignSources, Link: "poplin.1"})
	}
	v4, v6 := netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd96::1")
	for i, a := range []netip.Addr{v4, v6} {
		f := reconciler.FamilyOf(a)
		ranges := reconciler.Chain{Family: f, Method: reconciler.MethodRange, Slots: 1}
		h.Objects = append(h.Objects, ranges,
			reconciler.Element{Family: f, Set: reconciler.SetPortRanges, Address: a, Protocol: reconciler.UDP, Port: 10000, LastPort: 10999, Chain: ranges.Name()},
			reconciler.Element{Family: f, Set: reconciler.SetPortRanges, Address: a, Protocol: reconciler.UDP, Port: 11000, LastPort: 11000, Chain: ranges.Name()},
			reconciler.Element{Family: f, Set: reconciler.SetRangeEndpoints, Address: a, Protocol: reconciler.UDP, Target: netip.AddrPortFrom([]netip.AddrPort{two[0], two6[0]}[i].Addr(), 0)})
		h.Objects = append(h.Objects, reconciler.Element{Family: reconciler.FamilyOf(a), Set: reconciler.SetLoadBalancerAddresses, Address: a})
	}
	return state(h,
		service{name: "sticky", address: v4, protocol: reconciler.TCP, port: 82, targets: two, affinity: 3 * time.Hour},
		service{name: "node-sticky", address: v6, nodePort: true, protocol: reconciler.UDP, port: 30082, targets: two6, outsideLocal: true, local: two6[:1], affinity: time.Minute},
		service{name: "lb", address: v4, protocol: reconciler.TCP, port: 81, targets: two, external: true, outsideLocal: true, local: two[:1], sources: []string{"192.0.2.0/24", "203.0.113.9/32"}},
		service{name: "lb6", address: v6, protocol: reconciler.TCP, port: 81, targets: two6, external: true, sources: []string{"2001:db8::/32", "2001:db9::1/128"}},
		service{name: "node-lb", address: v4, nodePort: true, protocol: reconciler.TCP, port: 30081, targets: two, outsideLocal: true, sources: []string{"192.0.2.0/24"}},
		service{name: "web", address: v4, protocol: reconciler.TCP, port: 80, targets: two}, service{name: "web6", address: v6, protocol: reconciler.TCP, port: 80, targets: two6},
		service{name: "dns", address: v4, protocol: reconciler.UDP, port: 53, targets: two[:1]}, service{name: "none", address: v4, protocol: reconciler.SCTP, port: 9, targets: nil},
		service{name: "web-node", address: v4, nodePort: true, protocol: reconciler.TCP, port: 30080, targets: two}, service{name: "web-node6", address: v6, nodePort: true, protocol: reconciler.TCP, port: 30080, targets: two6})
}

// handle finds the handle of the first rule of a chain that holds a text.
const handle = `handle() { nft -a list chain ip poplin "$1" | grep -F "$2" | sed -n '1s/.*# handle //p'; }; `

func TestWhateverOthersDoIsRepaired(t *testing.T) {
	for name, c := range map[string]struct {
		harm string
		plan string // part of the first line of the plan that mends it
	}{
		"flush ruleset":        {"nft flush ruleset", "+ table ip poplin"},
		"delete table":         {"nft delete table ip poplin", "+ table ip poplin"},
		"delete element":       {"nft delete element ip poplin services '{ 10.96.0.1 . tcp . 80 }'", "+ element ip poplin services { 10.96.0.1 . tcp . 80"},
		"delete endpoint":      {"nft delete element ip poplin endpoints '{ 10.96.0.1 . tcp . 80 . 0x00000001 }'", "+ element ip poplin endpoints { 10.96.0.1 . tcp . 80 . 1"},
		"delete range":         {"nft delete element ip poplin pod-ranges '{ 10.244.0.0/16 }'", "+ element ip poplin pod-ranges { 10.244.0.0/16"},
		"delete open range":    {"nft delete element ip poplin masquerade-exclude '{ 255.255.255.255 }'", "+ element ip poplin masquerade-exclude { 255"},
		"flush set":            {"nft flush set ip poplin hairpin", "+ element ip poplin hairpin"},
		"flush map":            {"nft flush map ip6 poplin services", "+ element ip6 poplin services"},
		"add element":          {"nft add element ip poplin cluster-addresses '{ 10.96.7.7 }'", "- element ip poplin cluster-addresses { 10.96.7.7"},
		"add frontend":         {"nft add element ip poplin services '{ 10.96.7.7 . tcp . 1 : 0x2 }'", "- element ip poplin services { 10.96.7.7"},
		"delete source range":  {"nft delete element ip poplin source-ranges '{ 10.96.0.1 . tcp . 81 . 192.0.2.0/24 }'", "+ element ip poplin source-ranges { 10.96.0.1 . tcp . 81 . 192.0.2.0/24"},
		"add source range":     {"nft add element ip6 poplin source-ranges '{ fd96::1 . tcp . 81 . fd00::/8 }'", "- element ip6 poplin source-ranges { fd96::1 . tcp . 81 . fd00::/8"},
		"delete port range":    {"nft delete element ip poplin port-ranges '{ 10.96.0.1 . udp . 10000-10999 }'", "+ element ip poplin port-ranges { 10.96.0.1 . udp . 10000-10999"},
		"add port range":       {"nft add element ip6 poplin port-ranges '{ fd96::1 . tcp . 5-6 : goto refuse }'", "- element ip6 poplin port-ranges { fd96::1 . tcp . 5-6"},
		"odd source range":     {"nft add element ip poplin source-ranges '{ 10.96.0.1 . tcp . 81 . 10.0.0.1-10.0.0.9 }'", "damaged: set source-ranges: the range from 10.0.0.1 is no prefix"},
		"add range":            {"nft add element ip poplin pod-ranges '{ 10.1.0.0/16 }'", "- element ip poplin pod-ranges { 10.1.0.0/16"},
		"add no prefix":        {"nft add element ip poplin pod-ranges '{ 10.1.0.1-10.1.0.5 }'", "damaged: set pod-ranges: the range from 10.1.0.1 is no prefix"},
		"add verdict":          {"nft add element ip poplin special-services '{ 10.96.7.7 . tcp . 1 : accept }'", "damaged: set special-services: an element has verdict"},
		"change verdict":       {"nft delete element ip poplin services '{ 10.96.0.1 . tcp . 80 }'; nft add element ip poplin services '{ 10.96.0.1 . tcp . 80 : none }'", "~ element ip poplin services { 10.96.0.1 . tcp . 80 : refuse } → "},
		"add odd frontend":     {"nft add element ip poplin services '{ 10.96.7.7 . tcp . 1 : 0xfffffff0 }'", "- element ip poplin services { 10.96.7.7"},
		"add number":           {"nft add element ip poplin picks '{ 0xfffffff0 : goto pick-2 }'", "- element ip poplin picks { 4294967280"},
		"delete number":        {"nft delete element ip poplin picks '{ 0x2 }'", "+ element ip poplin picks { 2 : goto pick-2 }"},
		"change number":        {"nft delete element ip poplin picks '{ 0x2 }'; nft add element ip poplin picks '{ 0x2 : goto discard }'", "~ element ip poplin picks { 2 : goto discard } → "},
		"delete counter":       {"nft delete element ip poplin traffic '{ 10.96.0.1 . tcp . 80 }'", "+ element ip poplin traffic { 10.96.0.1 . tcp . 80 }"},
		"add counter":          {"nft add element ip poplin connections '{ 10.96.0.1 . tcp . 99 counter packets 7 bytes 7 }'", "- element ip poplin connections { 10.96.0.1 . tcp . 99 }"},
		"flush counting":       {"nft flush chain ip poplin count-input", "damaged: chain count-input differs at rule 1"},
		"add own rule":         {"nft add rule ip poplin prerouting accept", "damaged: chain prerouting differs at rule 2"},
		"insert own rule":      {"nft insert rule ip6 poplin frontends return", "damaged: chain frontends differs at rule 1"},
		"delete rule":          {handle + "nft delete rule ip poplin postrouting handle $(handle postrouting hairpin)", "damaged: chain postrouting differs at rule 1"},
		"flush chain":          {"nft flush chain ip poplin output", "damaged: chain output differs at rule 1"},
		"replace rule":         {handle + "nft replace rule ip poplin refuse handle $(handle refuse tcp) meta l4proto tcp drop", "damaged: chain refuse differs at rule 1"},
		"delete chain":         {"nft flush chain ip poplin output; nft delete chain ip poplin output", "damaged: chain output is missing"},
		"delete marker":        {"nft delete chain ip poplin " + markerName(), "damaged: chain " + markerName() + " is missing"},
		"add chain":            {"nft add chain ip poplin mine", "damaged: chain mine is not poplin's"},
		"add base chain":       {"nft add chain ip poplin pick-9 '{ type filter hook input priority 0; policy drop; }'", "damaged: chain pick-9 is not poplin's"},
		"add pick chain":       {"nft add chain ip poplin pick-9", "damaged: chain pick-9 is not poplin's"},
		"change policy":        {"nft add chain ip poplin output '{ policy drop; }'", "damaged: chain output is attached elsewhere"},
		"flush recall chain":   {"nft flush chain ip poplin recall-10800-16", "+ chain ip poplin recall-10800-16"},
		"flush sticky chain":   {"nft flush chain ip poplin sticky-10800-16-2", "+ chain ip poplin sticky-10800-16-2"},
		"shorten recall chain": {handle + "nft delete rule ip poplin recall-10800-16 handle $(handle recall-10800-16 'offset 2147483650')", "+ chain ip poplin recall-10800-16"},
		"add set":              {"nft add set ip poplin mine '{ type ipv4_addr; }'", "damaged: set mine is not poplin's"},
		"make dormant":         {"nft add table ip poplin '{ flags dormant; }'", "damaged: the table has flags 0x1"},
		"flush pick chain":     {"nft flush chain ip poplin pick-2", "+ chain ip poplin pick-2"},
		"rule into pick chain": {"nft insert rule ip poplin pick-2 accept", "+ chain ip poplin pick-2"},
		"older skeleton":       {"nft add chain ip poplin poplin-skeleton-0; nft flush table ip poplin; nft delete chain ip poplin " + markerName(), "damaged"},
		"last skeleton":        {"nft delete table ip6 poplin; nft add table ip6 poplin; nft add chain ip6 poplin poplin-skeleton-1; nft add set ip6 poplin masquerade-node-ports '{ type inet_proto . inet_service; }'; nft add element ip6 poplin masquerade-node-ports '{ tcp . 30080 }'", "~ table ip6 poplin skeleton 1 → "},
		"newer skeleton":       {"nft delete table ip6 poplin; nft add table ip6 poplin; nft add chain ip6 poplin poplin-skeleton-99", "~ table ip6 poplin skeleton 99 → "},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetns(t)
			x := target(t, n)
			want := web()
			reach(t, x, want)
			expect(t, n, x, want)
			n.run(c.harm)
			plan := reconciler.Diff(observe(t, x).State, want)
			if len(plan) == 0 || !strings.Contains(plan[0].String(), c.plan) {
				t.Fatalf("the plan is %v, not %s", plan, c.plan)
			}
			if err := x.Apply(context.Background(), plan, want); err != nil {
				t.Fatal(err)
			}
			expect(t, n, x, want)
		})
	}
}

// nftSetElemCatchall is NFT_SET_ELEM_CATCHALL of linux/netfilter/nf_tables.h.
const nftSetElemCatchall = 2

// catchAll adds the element that stands for all others to a set: what nft
// calls "*". To do so to an empty set of ranges is beyond nft 1.0.6.
func catchAll(t *testing.T, n *netns, f reconciler.Family, set reconciler.SetName) {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: n.fd})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	attrs := netlink.NewAttributeEncoder()
	attrs.ByteOrder = binary.BigEndian
	attrs.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
	attrs.String(unix.NFTA_SET_ELEM_LIST_SET, string(set))
	attrs.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
		list.Nested(unix.NFTA_LIST_ELEM, func(e *netlink.AttributeEncoder) error {
			e.Uint32(unix.NFTA_SET_ELEM_FLAGS, nftSetElemCatchall)
			return nil
		})
		return nil
	})
	body, err := attrs.Encode()
	if err != nil {
		t.Fatal(err)
	}
	about := func(f byte, subsystem byte) []byte { return []byte{f, unix.NFNETLINK_V0, 0, subsystem} }
	if _, err := conn.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: about(0, unix.NFNL_SUBSYS_NFTABLES)},
		{Header: netlink.Header{Type: nftablesType(unix.NFT_MSG_NEWSETELEM), Flags: netlink.Request | netlink.Acknowledge | netlink.Create},
			Data: append(about(byte(family(f)), 0), body...)},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: about(0, unix.NFNL_SUBSYS_NFTABLES)},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Receive(); err != nil {
		t.Fatal(err)
	}
}

// Alone in a set of ranges, such an element looks much like a range without a
// first address.
func TestElementThatStandsForAllOthersIsRepaired(t *testing.T) {
	for _, f := range families() {
		for _, set := range []reconciler.SetName{reconciler.SetPeerSubnets, reconciler.SetMasqueradeSubnets, reconciler.SetServiceRanges} {
			t.Run(fmt.Sprint(f, " ", set), func(t *testing.T) {
				n := newNetns(t)
				x := target(t, n)
				want := state(host(nil))
				reach(t, x, want)
				catchAll(t, n, f, set)
				plan := reconciler.Diff(observe(t, x).State, want)
				if len(plan) == 0 || !strings.Contains(plan[0].String(), "damaged: set "+string(set)+": an element has flags 0x2") {
					t.Fatalf("the plan is %v", plan)
				}
				if err := rounds(t, reconciler.NewEngine(x), want); err != nil {
					t.Error(err)
				}
				expect(t, n, x, want)
			})
		}
	}
}

// Some other process finds the damage, too, not only the one that made the
// table; a table that lost its marker is foreign to it.
func TestMarkerIsWhatTellsOurTable(t *testing.T) {
	n := newNetns(t)
	want := web()
	reach(t, target(t, n), want)
	n.run("nft flush chain ip poplin output; nft delete chain ip6 poplin " + markerName())
	o := observe(t, target(t, n))
	plan := reconciler.Diff(o.State, want)
	if len(plan) == 0 || !strings.Contains(plan[0].String(), " damaged: chain output") {
		t.Errorf("the plan is %v", plan)
	}
	if len(o.Conflicts) != 1 || o.Conflicts[0].Key != (reconciler.TableKey{Family: reconciler.IPv6}) {
		t.Errorf("conflicts: %v", o.Conflicts)
	}
}

// Nothing but the table may go into a damaged one.
func TestDamagedTableIsMadeAnewWhole(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	want := web()
	reach(t, x, want)
	n.run("nft flush chain ip poplin output")
	plan := reconciler.Diff(observe(t, x).State, want)
	if err := x.Apply(context.Background(), plan[1:], want); err == nil || !strings.Contains(err.Error(), "must be made anew first") {
		t.Errorf("applied: %v", err)
	}
	steps := split(plan, observe(t, x).State, want)
	if len(steps) != 1 {
		t.Errorf("%d transactions", len(steps))
	}
	// As an engine that deletes and adds would put it.
	table := plan[0]
	pair := reconciler.Plan{{Verb: reconciler.Delete, Before: table.Before}, {Verb: reconciler.Add, After: table.After}}
	if err := x.Apply(context.Background(), append(pair, plan[1:]...), want); err != nil {
		t.Fatal(err)
	}
	expect(t, n, x, want)
}

func TestCleanupLeavesNothing(t *testing.T) {
	n := newNetns(t)
	n.run("nft add table ip other")
	before := n.run("nft -a list ruleset")
	x := target(t, n)
	reach(t, x, web())
	if err := target(t, n).Cleanup(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := n.run("nft -a list ruleset"); got != before {
		t.Errorf("left over: %s", got)
	}
	reach(t, x, web())
	expect(t, n, x, web())
	reach(t, x, reconciler.State{})
	if got := n.run("nft -a list ruleset"); got != before {
		t.Errorf("left over: %s", got)
	}
}
