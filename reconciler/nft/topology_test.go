package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// network is two nodes and an outsider on one underlay. Only node 1 has our
// tables; node 2 is a plain router, as with host-gw.
//
//	pod-a  .2 ─┐
//	           ├─ br0 .1 ─ node ─ .1 ─┐
//	pod-b  .3 ─┘  10.244.1.0/24       ├─ lan 192.0.2.0/24 ─ .100 ─ client
//	pod-c  .2 ─── .1 ──── node2 ─ .2 ─┘
//	              10.244.2.0/24
//
// IPv6 likewise: 2001:db8::/64, fd24:0:0:1::/64, fd24:0:0:2::/64.
type network struct {
	t                                          *testing.T
	lan, node, node2, podA, podB, podC, client *netns
	target                                     *Target
}

// The addresses, IPv4 and IPv6.
var (
	vips   = [2]string{"10.96.0.10", "fd96::10"}
	nodes  = [2]string{"192.0.2.1", "2001:db8::1"}
	podsA  = [2]string{"10.244.1.2", "fd24:0:0:1::2"}
	podsB  = [2]string{"10.244.1.3", "fd24:0:0:1::3"}
	podsC  = [2]string{"10.244.2.2", "fd24:0:0:2::2"}
	bridge = [2]string{"10.244.1.1", "fd24:0:0:1::1"}
	client = [2]string{"192.0.2.100", "2001:db8::100"}
	ipv    = [2]string{"ipv4", "ipv6"}
)

func newNetwork(t *testing.T) *network {
	t.Helper()
	w := &network{t: t}
	w.lan = newNetns(t)
	lan := w.lan
	for _, n := range []**netns{&w.node, &w.node2, &w.podA, &w.podB, &w.podC, &w.client} {
		*n = newNetns(t)
	}
	if _, err := lan.try("ip link add br0 type bridge && ip link set br0 up"); err != nil {
		skip(t, "no bridges here: %v", err)
	}
	for i, n := range []*netns{w.node, w.node2, w.client} {
		veth(lan, fmt.Sprint("p", i), "br0", n, "eth0")
	}
	w.node.run("ip link add br0 type bridge nf_call_iptables 1 nf_call_ip6tables 1 && ip link set br0 up")
	veth(w.node, "veth-a", "br0", w.podA, "eth0")
	veth(w.node, "veth-b", "br0", w.podB, "eth0")
	w.node.run("bridge link set dev veth-a hairpin on; bridge link set dev veth-b hairpin on")
	veth(w.node2, "veth-c", "", w.podC, "eth0")
	for i, bits := range []string{"24", "64"} {
		address := func(n *netns, dev, a string) {
			flags := ""
			if i == 1 {
				flags = " nodad"
			}
			n.run("ip address add " + a + "/" + bits + " dev " + dev + flags)
		}
		address(w.node, "eth0", nodes[i])
		address(w.node, "br0", bridge[i])
		address(w.node2, "eth0", strings.TrimSuffix(nodes[i], "1")+"2")
		address(w.node2, "veth-c", strings.TrimSuffix(podsC[i], "2")+"1")
		address(w.client, "eth0", client[i])
		address(w.podA, "eth0", podsA[i])
		address(w.podB, "eth0", podsB[i])
		address(w.podC, "eth0", podsC[i])
		for _, n := range []*netns{w.podA, w.podB} {
			n.run("ip route add default via " + bridge[i])
		}
		w.podC.run("ip route add default via " + strings.TrimSuffix(podsC[i], "2") + "1")
		w.node.run("ip route add " + []string{"10.244.2.0/24", "fd24:0:0:2::/64"}[i] + " via " + strings.TrimSuffix(nodes[i], "1") + "2")
		w.node.run("ip route add " + serviceRange[i] + " dev br0")
		w.node2.run("ip route add " + []string{"10.244.1.0/24", "fd24:0:0:1::/64"}[i] + " via " + nodes[i])
		w.client.run("ip route add default via " + nodes[i])
	}
	for _, n := range []*netns{w.node, w.node2} {
		n.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
	}
	w.target = target(t, w.node)
	return w
}

var serviceRange = [2]string{"10.96.0.0/16", "fd96::/112"}

// veth joins two namespaces; the end in the first becomes a port of bridge.
func veth(a *netns, name, bridge string, b *netns, peer string) {
	a.t.Helper()
	// The descriptor is this process's, so that ip finds it by its number.
	a.run(fmt.Sprintf("ip link add %s type veth peer name %s netns /proc/%d/fd/%d", name, peer, os.Getpid(), b.fd))
	if bridge != "" {
		a.run("ip link set " + name + " master " + bridge)
	}
	a.run("ip link set " + name + " up")
	b.run("ip link set " + peer + " up")
}

// ranges are the sets of prefixes that node 1 has.
func (w *network) ranges() *reconciler.Group {
	return host(map[reconciler.SetName][]string{
		reconciler.SetNodePortAddresses: {nodes[0] + "/32", nodes[1] + "/128"},
		reconciler.SetServiceRanges:     serviceRange[:],
		reconciler.SetPodRanges:         {"10.244.0.0/16", "fd24::/48"},
		reconciler.SetLocalSubnets:      {"10.244.1.0/24", "fd24:0:0:1::/64"},
		reconciler.SetMasqueradeSubnets: {"10.244.1.0/24", "fd24:0:0:1::/64"},
		reconciler.SetMasqueradeExclude: {"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"},
	})
}

// serve sets node 1's services up: each port of both families on the cluster
// IP, and on node port 30000 + port.
func (w *network) serve(ports map[uint16][2][]string) { w.t.Helper(); w.serveWith(ports, nil) }

// serveWith lets a function change each service before it is set up.
func (w *network) serveWith(ports map[uint16][2][]string, change func(*service)) {
	w.t.Helper()
	reach(w.t, w.target, w.desired(ports, change))
}

// desired is what serveWith sets up.
func (w *network) desired(ports map[uint16][2][]string, change func(*service)) reconciler.State {
	h := w.ranges()
	var list []service
	for i, f := range families() {
		h.Objects = append(h.Objects,
			reconciler.Element{Family: f, Set: reconciler.SetClusterAddresses, Address: netip.MustParseAddr(vips[i])},
			reconciler.Element{Family: f, Set: reconciler.SetHairpin, Address: netip.MustParseAddr(podsA[i])},
			reconciler.Element{Family: f, Set: reconciler.SetHairpin, Address: netip.MustParseAddr(podsB[i])})
		for port, endpoints := range ports {
			for _, p := range []reconciler.Protocol{reconciler.TCP, reconciler.UDP} {
				s := service{name: fmt.Sprint(port, p, f), address: netip.MustParseAddr(vips[i]), protocol: p, port: port}
				for _, e := range endpoints[i] {
					s.targets = append(s.targets, netip.AddrPortFrom(netip.MustParseAddr(e), 8080))
				}
				node := s
				node.name, node.nodePort, node.port = "node "+s.name, true, 30000+port
				for _, s := range []service{s, node} {
					if change != nil {
						change(&s)
					}
					list = append(list, s)
				}
			}
		}
	}
	return state(h, list...)
}

// server answers on TCP and UDP port 8080 of a namespace, in both families,
// with its name and the client's address. It goes with the test.
type server struct {
	name string
	mu   sync.Mutex
	seen map[string]string // by what was sent over UDP: from where
}

func (w *network) server(n *netns, name string, addresses [2]string) *server {
	w.t.Helper()
	s := &server{name: name, seen: map[string]string{}}
	w.answer(n, func(c net.Conn) string { return name + " " + from(c.RemoteAddr().String()) })
	for _, a := range addresses {
		w.packets(n, s, a)
	}
	return s
}

// answer answers connections on port 8080 of a namespace with a text, and
// closes them. It goes with the test.
func (w *network) answer(n *netns, text func(net.Conn) string) {
	w.t.Helper()
	var listener net.Listener
	if err := n.do(func() (err error) {
		listener, err = net.Listen("tcp", ":8080")
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(c, text(c))
			_ = c.Close()
		}
	}()
}

// packets answers datagrams to one address: from a socket that is bound to
// none the answer may leave with another one.
func (w *network) packets(n *netns, s *server, address string) {
	w.t.Helper()
	var packets *net.UDPConn
	if err := n.do(func() (err error) {
		packets, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address), Port: 8080})
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = packets.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, a, err := packets.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.seen[string(b[:n])] = from(a.String())
			s.mu.Unlock()
			_, _ = packets.WriteToUDPAddrPort([]byte(s.name+" "+from(a.String())+" "+string(b[:n])), a)
		}
	}()
}

// saw gives where a datagram came from, "" as long as it did not come.
func (s *server) saw(datagram string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[datagram]
}

func from(addrPort string) string {
	return netip.MustParseAddrPort(addrPort).Addr().Unmap().String()
}

// dial connects from a namespace. UDP is connected, too, so that ICMP errors
// are heard.
func (n *netns) dial(proto, address string, port uint16) (c net.Conn, err error) {
	err = n.do(func() error {
		c, err = net.DialTimeout(proto, net.JoinHostPort(address, fmt.Sprint(port)), 5*time.Second)
		return err
	})
	return c, err
}

// exchange sends a line and gives the answer. A datagram is sent once more
// every 200 ms, and answers to earlier ones are left aside.
func exchange(c net.Conn, proto string) (string, error) {
	b := make([]byte, 512)
	for end := time.Now().Add(5 * time.Second); ; {
		question := fmt.Sprint(time.Now().UnixNano())
		// A datagram that is rejected on its own host fails with EPERM, and the
		// ICMP error comes with the next call.
		if _, err := c.Write([]byte(question)); err != nil && proto == "udp" && !errors.Is(err, unix.EPERM) {
			return "", err
		}
		wait := end
		if proto == "udp" {
			wait = time.Now().Add(200 * time.Millisecond)
		}
		if err := c.SetReadDeadline(wait); err != nil {
			return "", err
		}
		for {
			n, err := c.Read(b)
			answer, mine := strings.CutSuffix(string(b[:n]), " "+question)
			switch {
			case err == nil && (mine || proto == "tcp"):
				return answer, nil
			case err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end)):
				return "", err
			}
			if err != nil {
				break
			}
		}
	}
}

// ask dials, sends and reads: the answer is "server client-address".
func (n *netns) ask(proto, address string, port uint16) (string, error) {
	c, err := n.dial(proto, address, port)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	return exchange(c, proto)
}
