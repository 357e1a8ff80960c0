package nft

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
)

// tunnelPort is the one that tests guard.
const tunnelPort = 8472

// guard has node 1 guard a tunnel's port, and a link by a chain. Node 2 is its
// only peer.
func (w *network) guard(link, chain string) {
	h := w.ranges()
	for i, f := range families() {
		h.Objects = append(h.Objects,
			reconciler.Element{Family: f, Set: reconciler.SetTunnelPorts, Protocol: reconciler.UDP, Port: tunnelPort, Chain: reconciler.ChainGuardPort},
			reconciler.Element{Family: f, Set: reconciler.SetUnknownPeers, Protocol: reconciler.UDP, Port: tunnelPort},
			reconciler.Element{Family: f, Set: reconciler.SetTunnelPeers, Address: address(node2s[i])},
			reconciler.Element{Family: f, Set: reconciler.SetGuardedLinks, Link: link, Chain: chain},
			reconciler.Element{Family: f, Set: reconciler.SetForeignSources, Link: link},
			reconciler.Element{Family: f, Set: reconciler.SetPeerSubnets, Prefix: netip.MustParsePrefix([]string{"10.244.2.0/24", "fd24:0:0:2::/64"}[i])})
	}
	reach(w.t, w.target, state(h))
}

// forged reads what a family's table has dropped since it was made, of foreign
// sources what came by a link.
func (w *network) forged(f reconciler.Family, link string) (unknown, foreign uint64) {
	all, err := w.target.Counters(w.t.Context(), reconciler.SetUnknownPeers, reconciler.SetForeignSources)
	if err != nil {
		w.t.Fatal(err)
	}
	e := reconciler.Element{Family: f, Set: reconciler.SetUnknownPeers, Protocol: reconciler.UDP, Port: tunnelPort}
	unknown = all[e.Key().(reconciler.ElementKey)].Packets
	e = reconciler.Element{Family: f, Set: reconciler.SetForeignSources, Link: link}
	return unknown, all[e.Key().(reconciler.ElementKey)].Packets
}

// send sends three datagrams from an address of a namespace.
func (n *netns) send(source, to string, port uint16) {
	n.t.Helper()
	err := n.do(func() error {
		// A connected one would take what the first is answered with for an error
		// of the next.
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(source)})
		for i := 0; i < 3 && err == nil; i++ {
			_, err = c.WriteToUDPAddrPort([]byte("x"), addressPort(to, port))
		}
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// tunnel makes what is at the other end of a tunnel of node 1: a namespace
// from which all that is sent comes out of node 1's tunnel0. As in a tunnel,
// there is no neighbour discovery, whose packets would be counted as foreign.
func (w *network) tunnel() *netns {
	n := newNetns(w.t)
	n.run("sysctl -qw net.ipv6.conf.default.addr_gen_mode=1")
	w.node.run("sysctl -qw net.ipv6.conf.default.addr_gen_mode=1")
	veth(w.node, "tunnel0", "", n, "tunnel0")
	const mac = "02:00:00:00:00:01"
	w.node.run("ip link set tunnel0 address " + mac)
	for i := range families() {
		n.run("ip neighbour add " + podsA[i] + " lladdr " + mac + " dev tunnel0 nud permanent")
		n.run("ip route add " + podsA[i] + " dev tunnel0")
	}
	n.run("ip link set lo up; for a in 10.244.2.77/32 fd24:0:0:2::77/128 " + client[0] + "/32 " + client[1] + "/128; do ip address add $a dev lo; done")
	return n
}

// TestGuard sends what is right and what is forged, and sees what is dropped,
// by the rules and by the tracer.
func TestGuard(t *testing.T) {
	w := newNetwork(t)
	tunnel := w.tunnel()
	w.client.run("for a in 10.244.77.7/32 10.244.1.77/32 10.244.2.77/32 fd24:0:0:77::7/128 fd24:0:0:1::77/128 fd24:0:0:2::77/128; do ip address add $a dev lo; done")
	// What nothing drops reaches a chain that counts; nothing depends on routes
	// back.
	w.node.run("for f in ip ip6; do nft add table $f seen; nft add chain $f seen in '{ type filter hook prerouting priority 0; }'; nft add rule $f seen in meta l4proto udp counter; done")
	const (
		passes = iota
		unknown
		foreign
	)
	for _, c := range []struct {
		name   string
		chain  string
		from   *netns
		source [2]string
		to     [2]string
		port   uint16
		want   int
	}{
		{"peer to tunnel", reconciler.ChainGuardPods, w.node2, node2s, nodes, tunnelPort, passes},
		{"stranger to tunnel", reconciler.ChainGuardPods, w.client, client, nodes, tunnelPort, unknown},
		{"stranger to tunnel on another address", reconciler.ChainGuardPods, w.client, client, bridge, tunnelPort, unknown},
		{"own pod to tunnel", reconciler.ChainGuardPods, w.podA, podsA, bridge, tunnelPort, unknown},
		{"stranger to another port", reconciler.ChainGuardPods, w.client, client, nodes, 9, passes},
		{"stranger to a pod's tunnel", reconciler.ChainGuardPods, w.client, client, podsA, tunnelPort, passes},
		{"pod to somebody else's tunnel", reconciler.ChainGuardPods, w.podA, podsA, client, tunnelPort, passes},
		{"peer's pod, direct", reconciler.ChainGuardDirect, w.client, [2]string{"10.244.2.77", "fd24:0:0:2::77"}, podsA, 9, passes},
		{"nobody's pod, direct", reconciler.ChainGuardDirect, w.client, [2]string{"10.244.77.7", "fd24:0:0:77::7"}, podsA, 9, foreign},
		{"own pod, direct", reconciler.ChainGuardDirect, w.client, [2]string{"10.244.1.77", "fd24:0:0:1::77"}, podsA, 9, foreign},
		{"outside, direct", reconciler.ChainGuardDirect, w.client, client, podsA, 9, passes},
		{"peer's pod beside the tunnel", reconciler.ChainGuardPods, w.client, [2]string{"10.244.2.77", "fd24:0:0:2::77"}, podsA, 9, foreign},
		{"nobody's pod to the host", reconciler.ChainGuardPods, w.client, [2]string{"10.244.77.7", "fd24:0:0:77::7"}, nodes, 9, foreign},
		{"outside, beside the tunnel", reconciler.ChainGuardPods, w.client, client, podsA, 9, passes},
		{"pod of the peer, in a tunnel", reconciler.ChainGuardTunnel, tunnel, [2]string{"10.244.2.77", "fd24:0:0:2::77"}, podsA, 9, passes},
		{"outside, in a tunnel", reconciler.ChainGuardTunnel, tunnel, client, podsA, 9, foreign},
	} {
		for i, f := range families() {
			t.Run(fmt.Sprint(f, " ", c.name), func(t *testing.T) {
				link := "eth0"
				if c.from == tunnel {
					link = "tunnel0"
				}
				w.guard(link, c.chain)
				u, s := w.forged(f, link)
				w.node.run("nft reset counters >/dev/null; nft flush chain " + string(f) + " seen in; nft add rule " + string(f) + " seen in meta l4proto udp counter")
				c.from.send(c.source[i], c.to[i], c.port)
				want := map[int]string{passes: "0 0 3", unknown: "3 0 0", foreign: "0 3 0"}[c.want]
				becomes(t, want, func() string {
					listing := w.node.run("nft list chain " + string(f) + " seen in")
					_, rest, _ := strings.Cut(listing, "counter packets ")
					passed, _, _ := strings.Cut(rest, " ")
					nowUnknown, nowForeign := w.forged(f, link)
					return fmt.Sprint(nowUnknown-u, " ", nowForeign-s, " ", passed)
				})
				p := Packet{Protocol: reconciler.UDP, Source: address(c.source[i]), Destination: addressPort(c.to[i], c.port), Link: link}
				if c.from == w.podA {
					p.Link = "br0"
				}
				routes := &routeTable{node: w.node, hops: map[netip.Addr]routed{}}
				trace, err := NewRuleset(observe(t, w.target).State, f).Trace(p, routes.hop)
				if err != nil || (trace.Ways[0].Outcome == Dropped) != (c.want != passes) {
					t.Errorf("traced: %v%s", err, describe(trace))
				}
			})
		}
	}
}

// What is sent to a broadcast or multicast address reaches a tunnel's socket
// as well.
func TestGuardOfEveryAddressOfTheHost(t *testing.T) {
	w := newNetwork(t)
	w.guard("eth0", reconciler.ChainGuardPods)
	for i, to := range []string{"192.0.2.255", "224.0.0.1", "ff02::1%eth0"} {
		f, source := reconciler.IPv4, client[0]
		if i == 2 {
			f, source = reconciler.IPv6, client[1]
		}
		before, _ := w.forged(f, "eth0")
		if i == 2 {
			w.client.run(fmt.Sprintf("echo x | ncat -6 -u --send-only %s %d", to, tunnelPort))
		} else {
			w.client.send(source, to, tunnelPort)
		}
		eventually(t, to+" from "+source, func() bool {
			now, _ := w.forged(f, "eth0")
			return now > before
		})
	}
}

// A forged packet makes no entry in conntrack: a flood of them would fill it.
func TestGuardIsBeforeConntrack(t *testing.T) {
	w := newNetwork(t)
	w.guard("eth0", reconciler.ChainGuardPods)
	before, _ := w.forged(reconciler.IPv4, "eth0")
	w.client.send(client[0], nodes[0], tunnelPort)
	eventually(t, "3 dropped", func() bool { now, _ := w.forged(reconciler.IPv4, "eth0"); return now == before+3 })
	entries := strings.Split(w.node.run("conntrack -L 2>/dev/null || true"), "\n")
	if slices.ContainsFunc(entries, func(line string) bool { return strings.Contains(line, fmt.Sprintf("dport=%d", tunnelPort)) }) {
		t.Error(entries)
	}
}
