package linux_test

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/poplin-net/poplin/reconciler/linux"
)

// TestNextHop asks for routes of every kind.
func TestNextHop(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	n := newNode(t)
	for _, line := range []string{
		"link add up0 type bridge", "link set up0 up", "link add br0 type bridge", "link set br0 up",
		"address add 192.0.2.1/24 dev up0", "address add 198.51.100.1/24 dev up0", "address add 2001:db8::1/64 dev up0 nodad",
		"address add 10.244.1.1/24 dev br0", "address add fd24:0:0:1::1/64 dev br0 nodad",
		"route add 10.96.0.0/16 dev br0 src 10.244.1.1", "route add 203.0.113.0/24 via 198.51.100.9", "route add fd24:0:0:2::/64 via 2001:db8::2",
		"route add unreachable 10.1.0.0/16", "route add blackhole 10.2.0.0/16", "route add unreachable fd01::/64",
	} {
		ip(t, line)
	}
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	for to, want := range map[string]linux.NextHop{
		"192.0.2.1":      {Local: true, Source: a("192.0.2.1")},
		"2001:db8::1":    {Local: true, Source: a("2001:db8::1")},
		"192.0.2.7":      {Link: "up0", Source: a("192.0.2.1"), Masquerade: a("192.0.2.1")},
		"198.51.100.7":   {Link: "up0", Source: a("198.51.100.1"), Masquerade: a("198.51.100.1")},
		"203.0.113.5":    {Link: "up0", Gateway: a("198.51.100.9"), Source: a("198.51.100.1"), Masquerade: a("198.51.100.1")},
		"10.96.0.10":     {Link: "br0", Source: a("10.244.1.1"), Masquerade: a("10.244.1.1")},
		"fd24:0:0:2::2":  {Link: "up0", Gateway: a("2001:db8::2"), Source: a("2001:db8::1"), Masquerade: a("2001:db8::1")},
		"fd24:0:0:1::77": {Link: "br0", Source: a("fd24:0:0:1::1"), Masquerade: a("fd24:0:0:1::1")},
		"10.1.2.3":       {Refused: "unreachable"},
		"10.2.2.3":       {Refused: "blackhole"},
		"fd01::1":        {Refused: "unreachable"},
		"8.8.8.8":        {Refused: "no route"},
		"2001:4860::":    {Refused: "no route"},
	} {
		got, err := n.NextHop(t.Context(), a(to))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			out, _ := exec.Command("ip", "route", "get", to).CombinedOutput()
			t.Errorf("%s: %s\n%s", to, diff, strings.TrimSpace(string(out)))
		}
	}
}
