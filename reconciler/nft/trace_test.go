package nft

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// routesOfNode1 is the routing of the network's node 1, as far as the tests
// below go.
func routesOfNode1(to netip.Addr) Hop {
	switch {
	case to == address(nodes[0]), to == address(bridge[0]):
		return Hop{Local: true}
	case netip.MustParsePrefix("10.244.1.0/24").Contains(to), netip.MustParsePrefix("10.96.0.0/16").Contains(to):
		return Hop{Link: "br0", Address: address(bridge[0])}
	case netip.MustParsePrefix("10.244.2.0/24").Contains(to):
		return Hop{Link: "eth0", Gateway: address("192.0.2.2"), Address: address(nodes[0])}
	case netip.MustParsePrefix("192.0.2.0/24").Contains(to):
		return Hop{Link: "eth0", Address: address(nodes[0])}
	}
	return Hop{Refused: "unreachable"}
}

func ends(pods ...[2]string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, p := range pods {
		out = append(out, addressPort(p[0], 8080))
	}
	return out
}

// tracing has a service with the endpoints of port 80 on a cluster IP and a
// node port.
func tracing(t *testing.T, change func(*service), targets ...netip.AddrPort) *Ruleset {
	t.Helper()
	w := &network{t: t}
	h := w.ranges()
	h.Objects = append(h.Objects, reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetClusterAddresses, Address: address(vips[0])})
	vip := service{name: "web", address: address(vips[0]), protocol: reconciler.TCP, port: 80, targets: targets}
	node := service{name: "node web", address: address(vips[0]), nodePort: true, protocol: reconciler.TCP, port: 30080, targets: targets}
	change(&vip)
	change(&node)
	return NewRuleset(state(h, vip, node), reconciler.IPv4)
}

func follow(t *testing.T, r *Ruleset, p Packet) Trace {
	t.Helper()
	trace, err := r.Trace(p, routesOfNode1)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, w := range trace.Ways {
		sum += w.Share
	}
	if math.Abs(sum-1) > 1e-6 {
		t.Errorf("the shares sum up to %v", sum)
	}
	return trace
}

// ways writes a trace line by line.
func ways(trace Trace) string {
	var out []string
	for _, w := range trace.Ways {
		line := fmt.Sprintf("%.0f %% %s %s from %s", 100*w.Share, w.Outcome, w.Destination, w.Source)
		if last, ok := w.Last(); ok {
			line += " by " + last.Chain + ": " + last.Verdict
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestTrace(t *testing.T) {
	same := func(*service) {}
	pod, outside := Packet{reconciler.TCP, address(podsB[0]), addressPort(vips[0], 80), false, ""}, Packet{reconciler.TCP, address(client[0]), addressPort(nodes[0], 30080), false, ""}
	other := pod
	other.Destination = addressPort(vips[0], 81)
	ping := Packet{unix.IPPROTO_ICMP, address(podsB[0]), addressPort(vips[0], 0), false, ""}
	away := Packet{reconciler.TCP, address(podsB[0]), addressPort("192.0.2.77", 443), false, ""}
	lost := Packet{reconciler.TCP, address(podsB[0]), addressPort("203.0.113.1", 443), false, ""}
	for _, c := range []struct {
		name    string
		change  func(*service)
		targets []netip.AddrPort
		packet  Packet
		want    string
	}{
		{"weights", same, ends(podsA, podsA, podsC), pod,
			"67 % forwarded 10.244.1.2:8080 from 10.244.1.3 by pick-3: dnat to 10.244.1.2:8080\n33 % forwarded 10.244.2.2:8080 from 10.244.1.3 by pick-3: dnat to 10.244.2.2:8080"},
		{"outside", same, ends(podsA, podsC), outside,
			"50 % forwarded 10.244.1.2:8080 from 192.0.2.100 by node-port-pick-2: dnat to 10.244.1.2:8080\n50 % forwarded 10.244.2.2:8080 from 192.0.2.1 by masquerade-all: masquerade as 192.0.2.1"},
		{"a new client sticks", func(s *service) { s.affinity = 60e9 }, ends(podsA, podsC), pod,
			"50 % forwarded 10.244.1.2:8080 from 10.244.1.3 by stick-60-6: dnat to 10.244.1.2:8080\n50 % forwarded 10.244.2.2:8080 from 10.244.1.3 by stick-60-10: dnat to 10.244.2.2:8080"},
		{"nobody", same, nil, pod, "100 % refused 10.96.0.10:80 from 10.244.1.3 by refuse: reject with tcp reset"},
		{"elsewhere", func(s *service) { s.elsewhere = true }, nil, pod, "100 % dropped 10.96.0.10:80 from 10.244.1.3 by discard: drop"},
		{"no frontend", same, ends(podsA), other, "100 % refused 10.96.0.10:81 from 10.244.1.3 by refuse: reject with tcp reset"},
		{"not among the sources", func(s *service) { s.sources = []string{"203.0.113.0/24"} }, ends(podsA), outside,
			"100 % dropped 192.0.2.1:30080 from 192.0.2.100 by node-port-restricted: drop"},
		{"ping", same, ends(podsA), ping, "100 % delivered 10.96.0.10:0 from 10.244.1.3 by frontends: redirect"},
		{"away", same, nil, away, "100 % forwarded 192.0.2.77:443 from 192.0.2.1 by postrouting: masquerade as 192.0.2.1"},
		{"no route", same, nil, lost, "100 % unrouted 203.0.113.1:443 from 10.244.1.3"},
	} {
		if got := ways(follow(t, tracing(t, c.change, c.targets...), c.packet)); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// A step names the element and the group that asks for it.
func TestTraceNamesElements(t *testing.T) {
	trace := follow(t, tracing(t, func(*service) {}, ends(podsA)...), Packet{reconciler.TCP, address(podsB[0]), addressPort(vips[0], 80), false, ""})
	var got []string
	for _, s := range trace.Ways[0].Steps {
		for _, f := range s.Found {
			if s.Verdict == "" || s.Verdict == "accept" {
				continue // only counts
			}
			got = append(got, fmt.Sprintf("%s %s: %s: %s → %s", s.Hook, s.Chain, f.Group.Name, f.Element, s.Verdict))
		}
	}
	want := `prerouting frontends: service web: element ip poplin services { 10.96.0.10 . tcp . 80 : pick-1 } → goto pick-1
prerouting pick-1: service web: element ip poplin endpoints { 10.96.0.10 . tcp . 80 . 0 : 10.244.1.2 . 8080 } → dnat to 10.244.1.2:8080`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// Without rules that are known nothing is claimed to match.
func TestRulesetOfWhatIsNotThere(t *testing.T) {
	damaged := reconciler.Table{Family: reconciler.IPv4, Version: reconciler.SkeletonVersion, Damage: "chain refuse is missing"}
	for want, s := range map[string]reconciler.State{
		"there is no table ip poplin": {},
		"damaged: chain refuse":       reconciler.NewState(&reconciler.Group{Name: "x", Objects: []reconciler.Object{damaged}}),
	} {
		r := NewRuleset(s, reconciler.IPv4)
		if !strings.Contains(r.Missing, want) {
			t.Errorf("%q, not %q", r.Missing, want)
		}
		if got := ways(follow(t, r, Packet{reconciler.TCP, address(podsB[0]), addressPort(podsA[0], 80), false, ""})); got != "100 % forwarded 10.244.1.2:80 from 10.244.1.3" {
			t.Error(got)
		}
	}
	_, err := NewRuleset(reconciler.State{}, reconciler.IPv6).Trace(Packet{reconciler.TCP, address(podsB[0]), addressPort(podsA[0], 80), false, ""}, routesOfNode1)
	if err == nil {
		t.Error("an IPv4 packet went through the table of IPv6")
	}
}
