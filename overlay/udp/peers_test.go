package udp

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// oracle is the table said slowly: look at every subnet.
type oracle []Peer

// owner finds the peer with the longest prefix around an address; of equal
// prefixes the last one.
func (o oracle) owner(a netip.Addr) *Peer {
	var best *Peer
	bits := -1
	for i := range o {
		for _, s := range o[i].Subnets {
			if s.Contains(a) && s.Bits() >= bits {
				best, bits = &o[i], s.Bits()
			}
		}
	}
	return best
}

func (o oracle) accepts(from, source, destination netip.Addr) Reason {
	known := false
	for _, p := range o {
		known = known || p.Endpoint.Addr() == from
	}
	owner := o.owner(source)
	switch {
	case !known:
		return UnknownPeer
	case owner == nil || owner.Endpoint.Addr() != from:
		return ForeignSource
	case o.owner(destination) != nil:
		return Forwarded
	}
	return accepted
}

// drawAddress draws from so few addresses that they meet.
func drawAddress(t *rapid.T, ipv6 bool, label string) netip.Addr {
	x := byte(rapid.IntRange(0, 15).Draw(t, label))
	y := byte(rapid.IntRange(0, 3).Draw(t, label)) << 6
	if ipv6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 6: x, 15: y})
	}
	return netip.AddrFrom4([4]byte{10, 244, x, y})
}

func drawPeers(t *rapid.T) []Peer {
	subnet := rapid.Custom(func(t *rapid.T) netip.Prefix {
		ipv6 := rapid.Bool().Draw(t, "ipv6")
		bits := rapid.SampledFrom([]int{0, 8, 22, 23, 24, 25, 26, 32}).Draw(t, "bits")
		if ipv6 {
			bits = rapid.SampledFrom([]int{0, 8, 53, 55, 56, 64, 121, 122, 128}).Draw(t, "bits")
		}
		return netip.PrefixFrom(drawAddress(t, ipv6, "subnet"), bits).Masked()
	})
	peer := rapid.Custom(func(t *rapid.T) Peer {
		n := rapid.IntRange(1, 12).Draw(t, "node")
		return Peer{
			Node:     fmt.Sprint("node-", n),
			Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 8285),
			Subnets:  rapid.SliceOfN(subnet, 0, 4).Draw(t, "subnets"),
		}
	})
	return rapid.SliceOfN(peer, 0, 12).Draw(t, "peers")
}

func TestTableAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		peers := drawPeers(t)
		table := newTable(peers, nil)
		for range 50 {
			ipv6 := rapid.Bool().Draw(t, "ipv6")
			source, destination := drawAddress(t, ipv6, "source"), drawAddress(t, ipv6, "destination")
			from := netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(1, 13).Draw(t, "from"))})
			packet := packetBetween(source, destination, 4)

			want := oracle(peers).owner(destination)
			got, reason := table.route(packet)
			if (want == nil) != (got == nil) || (got == nil) != (reason != accepted) {
				t.Fatalf("to %s: %v %s, want %v", destination, got, reason, want)
			}
			if want != nil && (got.node != want.Node || got.endpoint != want.Endpoint) {
				t.Fatalf("to %s: %v, want %v", destination, got, want)
			}
			if _, got := table.accept(from, packet); got != oracle(peers).accepts(from, source, destination) {
				t.Fatalf("%s: %s → %s: %s", from, source, destination, got)
			}
		}
	})
}

// cluster is two peers with a subnet of each family each.
func cluster() []Peer {
	return []Peer{
		peerOf("node-2", "192.0.2.2:8285", "10.244.2.0/24", "fd00:2::/64"),
		peerOf("node-3", "[2001:db8::3]:8286", "10.244.3.0/24", "10.245.3.0/24", "fd00:3::/64"),
	}
}

func peerOf(node, endpoint string, subnets ...string) Peer {
	p := Peer{Node: node, Endpoint: netip.MustParseAddrPort(endpoint)}
	for _, s := range subnets {
		p.Subnets = append(p.Subnets, netip.MustParsePrefix(s))
	}
	return p
}

func TestRoute(t *testing.T) {
	table := newTable(cluster(), nil)
	for _, test := range []struct{ source, destination, want string }{
		{"10.244.1.5", "10.244.2.9", "192.0.2.2:8285"},
		{"10.244.1.5", "10.245.3.9", "[2001:db8::3]:8286"},
		{"fd00:1::5", "fd00:3::9", "[2001:db8::3]:8286"},
		{"10.244.1.5", "10.244.9.9", "no-route"},
		{"10.244.1.5", "10.244.1.6", "no-route"},
		{"10.244.1.0", "224.0.0.22", "not-unicast"},
		{"fe80::1", "ff02::2", "not-unicast"},
		{"fe80::1", "fe80::2", "not-unicast"},
	} {
		p, reason := table.route(packetOf(test.source, test.destination, 0))
		got := reason.String()
		if p != nil {
			got = p.endpoint.String()
		}
		if got != test.want {
			t.Errorf("to %s: %s, want %s", test.destination, got, test.want)
		}
	}
	if _, reason := table.route([]byte{0x45}); reason != TruncatedOut {
		t.Errorf("truncated: %s", reason)
	}
	if _, reason := table.route([]byte{0x10}); reason != NotIPOut {
		t.Errorf("not IP: %s", reason)
	}
}

func TestPeersKeepTheirCounters(t *testing.T) {
	before := newTable(cluster(), nil)
	before.peers[0].traffic.sentPackets.Add(7)
	moved := peerOf("node-2", "[::ffff:192.0.2.22]:9000", "10.244.2.0/24")
	split := peerOf("node-2", "192.0.2.23:8285", "fd00:2::/64")
	after := newTable([]Peer{moved, split}, before)
	for _, p := range after.peers {
		if p.traffic.sentPackets.Load() != 7 {
			t.Errorf("%s starts anew", p.endpoint)
		}
	}
	if got := after.peers[0].endpoint.String(); got != "192.0.2.22:9000" {
		t.Errorf("an IPv4-mapped endpoint became %s", got)
	}
}
