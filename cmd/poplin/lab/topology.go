//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// Node is what a Node document says about a host.
type Node struct {
	Name      string
	Addresses []netip.Addr
	External  bool // runs no daemon
}

// DefaultNodes gives node-1 … node-count at 192.0.2.1 … and 2001:db8::1 …
// (documentation ranges, RFC 5737 and RFC 3849).
func DefaultNodes(count int) ([]Node, error) {
	if count < 1 || count > 250 {
		return nil, fmt.Errorf("%d nodes: want 1 to 250", count)
	}
	v6 := netip.MustParseAddr("2001:db8::").As16()
	nodes := make([]Node, count)
	for i := range nodes {
		v6[15] = byte(i + 1)
		nodes[i] = Node{
			Name:      fmt.Sprintf("node-%d", i+1),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), netip.AddrFrom16(v6)},
		}
	}
	return nodes, nil
}

// Topology lays the nodes out on the underlay and adds the client, which has
// .254 in every /24 and ::254 in every /64 that a node is in and is the
// default gateway of all nodes: a host without a default route could not even
// try to reach a cluster IP. Where nodes are in several networks the client
// routes between them.
func Topology(nodes []Node) ([]Host, error) {
	client := Host{Name: ClientName}
	owner := map[netip.Addr]string{}
	var hosts []Host
	for _, n := range nodes {
		if n.Name == ClientName {
			return nil, fmt.Errorf("a node cannot be named %q in the lab", ClientName)
		}
		host := Host{Name: n.Name, Addresses: n.Addresses}
		for _, a := range n.Addresses {
			if other, taken := owner[a]; taken {
				return nil, fmt.Errorf("nodes %s and %s have one address %s", other, n.Name, a)
			}
			owner[a] = n.Name
			gateway := clientAddress(a)
			if !slices.Contains(client.Addresses, gateway) {
				client.Addresses = append(client.Addresses, gateway)
			}
			host.Gateways = append(host.Gateways, gateway)
		}
		hosts = append(hosts, host)
	}
	for _, a := range client.Addresses {
		if name, taken := owner[a]; taken {
			return nil, fmt.Errorf("node %s: address %s is the lab client's", name, a)
		}
	}
	client.Forwards = severalNetworks(client.Addresses)
	return append(hosts, client), nil
}

// clientAddress gives the client's address in the network of a node's address.
func clientAddress(a netip.Addr) netip.Addr {
	if a.Is4() {
		b := a.As4()
		b[3] = 254
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	clear(b[8:])
	b[14], b[15] = 0x02, 0x54
	return netip.AddrFrom16(b)
}

func severalNetworks(addresses []netip.Addr) bool {
	v4 := 0
	for _, a := range addresses {
		if a.Is4() {
			v4++
		}
	}
	return v4 > 1 || len(addresses)-v4 > 1
}
