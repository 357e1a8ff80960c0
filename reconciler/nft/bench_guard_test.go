package nft

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
)

// BenchmarkGuard forwards datagrams of 64 bytes between veth pairs: with no
// table, with one whose guard has nothing, and with one that has 1,000 peers
// and looks at the links.
func BenchmarkGuard(b *testing.B) {
	for _, c := range []struct {
		name    string
		prepare func(n *netns)
	}{
		{"without tables", func(*netns) {}},
		{"without guard", func(n *netns) {
			reach(b, target(b, n), state(host(nil)))
			n.run("nft flush chain ip poplin guard")
		}},
		{"nothing to guard", func(n *netns) { reach(b, target(b, n), state(host(nil))) }},
		{"a packet of a peer's pod", func(n *netns) { reach(b, target(b, n), guarded()) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			send := forwarding(b, c.prepare)
			for b.Loop() {
				if err := send(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// guarded has a guard with 1,000 peers, on the link that packets come in by.
func guarded() reconciler.State {
	h := host(map[reconciler.SetName][]string{reconciler.SetPodRanges: {"10.0.0.0/8"}})
	h.Objects = append(h.Objects,
		reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetTunnelPorts, Protocol: reconciler.UDP, Port: tunnelPort, Chain: reconciler.ChainGuardPort},
		reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetUnknownPeers, Protocol: reconciler.UDP, Port: tunnelPort},
		reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetGuardedLinks, Link: "in", Chain: reconciler.ChainGuardDirect},
		reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetForeignSources, Link: "in"})
	for i := range 1000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i / 250), byte(i % 250), 0}), 24)
		h.Objects = append(h.Objects, reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetPeerSubnets, Prefix: p})
	}
	return state(h)
}

// forwarding gives a function that sends a datagram through a router to where
// it is thrown away. All of its way is done before a send returns, but for
// what the kernel leaves to its softirqs.
func forwarding(b *testing.B, prepare func(router *netns)) func() error {
	sender, router, sink := newNetns(b), newNetns(b), newNetns(b)
	veth(router, "in", "", sender, "eth0")
	veth(router, "out", "", sink, "eth0")
	sender.run("ip address add 10.0.0.2/24 dev eth0; ip route add default via 10.0.0.1")
	sink.run("ip address add 10.1.0.2/24 dev eth0; ip route add default via 10.1.0.1")
	router.run("ip address add 10.0.0.1/24 dev in; ip address add 10.1.0.1/24 dev out; sysctl -qw net.ipv4.ip_forward=1")
	prepare(router)
	sink.run("nft add table ip sink; nft add chain ip sink in '{ type filter hook prerouting priority -400; }'; nft add rule ip sink in udp dport 9 drop")
	var c *net.UDPConn
	if err := sender.do(func() (err error) {
		c, err = net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(10, 1, 0, 2), Port: 9})
		return err
	}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	if out, err := sender.try("ping -c1 -W2 10.1.0.2"); err != nil {
		b.Fatal(fmt.Errorf("%s: %w", out, err))
	}
	payload := make([]byte, 64-28)
	return func() error {
		_, err := c.Write(payload)
		return err
	}
}
