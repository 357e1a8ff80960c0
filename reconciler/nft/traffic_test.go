package nft

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTraffic(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podB, "b", podsB)
	w.server(w.podC, "c", podsC)
	w.server(w.node, "node", nodes)
	w.server(w.client, "client", client)
	w.serve(map[uint16][2][]string{
		1: {{podsA[0]}, {podsA[1]}},
		2: {{podsB[0]}, {podsB[1]}},
		3: {{podsC[0]}, {podsC[1]}},
		4: {{nodes[0]}, {nodes[1]}},   // a pod on the host network
		5: {{client[0]}, {client[1]}}, // something outside
		6: {},
		7: {{podsA[0], podsB[0], podsC[0]}, {podsA[1], podsB[1], podsC[1]}},
	})
	for i, f := range families() {
		for _, proto := range []string{"tcp", "udp"} {
			t.Run(fmt.Sprint(f, " ", proto), func(t *testing.T) { w.ways(t, i, proto) })
		}
	}
	for i, f := range families() {
		t.Run(fmt.Sprint(f, " spread"), func(t *testing.T) { w.spread(t, vips[i]) })
		t.Run(fmt.Sprint(f, " ping"), func(t *testing.T) {
			for _, n := range []*netns{w.podA, w.node, w.client} {
				if _, err := n.try("ping -c 1 -W 2 " + vips[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// ways goes through who reaches what how; i is 0 for IPv4.
func (w *network) ways(t *testing.T, i int, proto string) {
	vip, node := vips[i], nodes[i]
	for _, c := range []struct {
		name string
		from *netns
		to   string
		port uint16
		want string // server and the client that it sees; "" is refused
	}{
		{"pod to pod directly", w.podA, podsC[i], 8080, "c " + podsA[i]},
		{"pod to outside", w.podA, client[i], 8080, "client " + node},
		{"pod to own host", w.podA, node, 8080, "node " + podsA[i]},
		{"pod to pod on the same bridge", w.podA, vip, 2, "b " + podsA[i]},
		{"pod to itself", w.podA, vip, 1, "a " + bridge[i]},
		{"pod to remote pod", w.podA, vip, 3, "c " + podsA[i]},
		{"pod to host network", w.podA, vip, 4, "node " + podsA[i]},
		{"pod to outside endpoint", w.podA, vip, 5, "client " + node},
		{"pod to nobody", w.podA, vip, 6, ""},
		{"pod to no frontend", w.podA, vip, 99, ""},
		{"host to pod", w.node, vip, 1, "a " + bridge[i]},
		{"host to remote pod", w.node, vip, 3, "c " + bridge[i]},
		{"host to itself", w.node, vip, 4, "node "},
		{"host to outside endpoint", w.node, vip, 5, "client " + node},
		{"host to nobody", w.node, vip, 6, ""},
		{"host to no frontend", w.node, vip, 99, ""},
		{"outside to cluster IP", w.client, vip, 1, "a " + client[i]},
		{"outside to cluster IP, remote", w.client, vip, 3, "c " + node},
		{"outside to nobody", w.client, vip, 6, ""},
		{"outside to no frontend", w.client, vip, 99, ""},
		{"outside to node port", w.client, node, 30001, "a " + client[i]},
		{"outside to node port, remote", w.client, node, 30003, "c " + node},
		{"outside to node port, host network", w.client, node, 30004, "node " + client[i]},
		{"outside to node port, nobody", w.client, node, 30006, ""},
		{"pod to node port", w.podA, node, 30002, "b " + podsA[i]},
		{"pod to node port, itself", w.podA, node, 30001, "a " + bridge[i]},
		{"pod to node port, remote", w.podA, node, 30003, "c " + podsA[i]},
		{"host to node port", w.node, node, 30001, "a " + node},
		{"host to node port, remote", w.node, node, 30003, "c " + node},
		{"host to node port, nobody", w.node, node, 30006, ""},
		{"remote pod to node port, back", w.podC, node, 30003, "c " + node},
	} {
		got, err := c.from.ask(proto, c.to, c.port)
		switch {
		case c.want == "" && !errors.Is(err, unix.ECONNREFUSED):
			t.Errorf("%s: %q, %v", c.name, got, err)
		case c.want != "" && (err != nil || !strings.HasPrefix(got, c.want)):
			t.Errorf("%s: %q, %v, not %q", c.name, got, err, c.want)
		}
	}
}

// spread sees that every endpoint gets its share.
func (w *network) spread(t *testing.T, vip string) {
	count := map[string]int{}
	const all = 150
	for range all {
		got, err := w.podA.ask("tcp", vip, 7)
		if err != nil {
			t.Fatal(err)
		}
		count[got[:1]]++
	}
	for _, name := range []string{"a", "b", "c"} {
		if count[name] < all/6 || count[name] > all/2 {
			t.Errorf("of %d connections: %v", all, count)
		}
	}
}

func TestMulticastIsNotMasqueraded(t *testing.T) {
	w := newNetwork(t)
	w.serve(nil)
	group := &net.UDPAddr{IP: net.IPv4(239, 1, 1, 1), Port: 9999}
	var listener, sender *net.UDPConn
	if err := w.client.do(func() (err error) {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		listener, err = net.ListenMulticastUDP("udp4", eth0, group)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if err := w.node.do(func() (err error) {
		out := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(bridge[0])}, Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "eth0") })
		}}
		conn, e := out.Dial("udp4", group.String())
		sender, _ = conn.(*net.UDPConn)
		return errors.Join(err, e)
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sender.Close() }()
	b := make([]byte, 64)
	eventually(t, "a multicast datagram", func() bool {
		if _, err := sender.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := listener.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, a, err := listener.ReadFromUDP(b)
		if err == nil && a.IP.String() != bridge[0] {
			t.Fatalf("it came from %s", a)
		}
		return err == nil
	})
}

// Others translate destinations, too, for example a container engine that
// publishes a port. Their connections are not ours to masquerade.
func TestConnectionsTranslatedByOthersStayAlone(t *testing.T) {
	w := newNetwork(t)
	c := w.server(w.podC, "c", podsC)
	w.serve(map[uint16][2][]string{3: {{podsC[0]}, {podsC[1]}}})
	w.node.run(`nft -f - <<'END'
table ip other {
	chain prerouting {
		type nat hook prerouting priority dstnat - 5;
		ip daddr 192.0.2.1 udp dport 8053 dnat to 10.244.2.2:8080
	}
}
END`)
	conn, err := w.client.dial("udp", nodes[0], 8053)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	eventually(t, "a datagram by way of the other table", func() bool {
		if _, err := conn.Write([]byte("other")); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
		return c.saw("other") != ""
	})
	if got := c.saw("other"); got != client[0] {
		t.Errorf("it came from %s", got)
	}
}

// An edit that does not concern a connection leaves it alone, and so does
// making the table anew.
func TestConnectionsSurviveCommits(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podB, "b", podsB)
	ports := map[uint16][2][]string{2: {{podsB[0]}, {podsB[1]}}}
	w.serve(ports)
	c, err := w.podA.dial("udp", vips[0], 2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, harm := range []string{"true", "nft flush chain ip poplin frontends", "nft flush ruleset", "nft delete table ip poplin"} {
		w.node.run(harm)
		ports[uint16(100+len(harm))] = [2][]string{{podsA[0]}, {podsA[1]}}
		w.serve(ports)
		if got, err := exchange(c, "udp"); err != nil || got != "b "+podsA[0] {
			t.Errorf("after %q: %q, %v", harm, got, err)
		}
	}
}

func TestStaleUDPConnectionsAreDeleted(t *testing.T) {
	for i, f := range families() {
		t.Run(string(f), func(t *testing.T) {
			w := newNetwork(t)
			w.server(w.podB, "b", podsB)
			w.server(w.podC, "c", podsC)
			to := func(pods ...[2]string) map[uint16][2][]string {
				var list [2][]string
				for _, p := range pods {
					list[0], list[1] = append(list[0], p[0]), append(list[1], p[1])
				}
				return map[uint16][2][]string{1: list}
			}
			// Somebody else has connections tracked, and before our tables are
			// there the packets pass untranslated.
			w.node.run("nft add table inet other; nft add chain inet other x '{ type filter hook prerouting priority 0; }'; nft add rule inet other x ct state new accept")
			w.podA.run("sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.eth0.accept_redirects=0 net.ipv6.conf.eth0.accept_redirects=0")
			w.node.run("ip neigh add 10.96.0.10 lladdr 02:00:00:00:00:01 dev br0; ip neigh add fd96::10 lladdr 02:00:00:00:00:01 dev br0")
			for _, way := range []struct {
				from *netns
				to   string
				port uint16
			}{{w.podA, vips[i], 1}, {w.client, nodes[i], 30001}} {
				c, err := way.from.dial("udp", way.to, way.port)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				if err := w.target.Cleanup(context.Background()); err != nil {
					t.Fatal(err)
				}
				eventually(t, "an untranslated connection", func() bool {
					_, _ = c.Write([]byte("early"))
					out, err := w.node.try("conntrack -L -p udp -f " + ipv[i])
					return err == nil && strings.Contains(out, fmt.Sprintf("dport=%d ", way.port))
				})
				for _, step := range []struct {
					pods [][2]string
					want string
				}{
					{[][2]string{podsB}, "b"},
					{[][2]string{podsC}, "c"},
					{[][2]string{podsB, podsC}, "c"}, // stays
					{[][2]string{podsB}, "b"},
					{nil, ""},
					{[][2]string{podsC}, "c"},
				} {
					w.serve(to(step.pods...))
					got, err := exchange(c, "udp")
					if step.want == "" {
						continue // refused, as seen in TestTraffic
					}
					for errors.Is(err, unix.ECONNREFUSED) { // of an earlier datagram
						got, err = exchange(c, "udp")
					}
					if err != nil || !strings.HasPrefix(got, step.want) {
						t.Errorf("%s with %v: %q, %v", way.to, step.pods, got, err)
					}
				}
			}
		})
	}
}

// While the target runs, stale connections are deleted beside the commits.
func TestStaleConnectionsAreDeletedBesideCommits(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podB, "b", podsB)
	w.server(w.podC, "c", podsC)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.target.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	w.serve(map[uint16][2][]string{1: {{podsB[0]}, {podsB[1]}}})
	for i := range families() {
		c, err := w.podA.dial("udp", vips[i], 1)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		for n := range 6 {
			pod, name := [][2]string{podsB, podsC}[n%2], []string{"b", "c"}[n%2]
			w.serve(map[uint16][2][]string{1: {{pod[0]}, {pod[1]}}})
			eventually(t, "an answer of "+name, func() bool {
				got, err := exchange(c, "udp")
				return err == nil && strings.HasPrefix(got, name)
			})
		}
	}
}

// A SYN that went to an endpoint that is gone takes its connection with it,
// unless the connection is forgotten.
func TestUnansweredTCPConnectionsAreDeleted(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podB, "b", podsB)
	dead := [2][]string{{"10.244.2.99"}, {"fd24:0:0:2::99"}}
	w.node2.run("ip route add blackhole 10.244.2.99; ip route add blackhole fd24:0:0:2::99")
	w.serve(map[uint16][2][]string{1: dead})
	result := make(chan string)
	asked := 0
	for i := range families() {
		for _, way := range []struct {
			from *netns
			to   string
			port uint16
		}{{w.podA, vips[i], 1}, {w.client, nodes[i], 30001}, {w.node, vips[i], 1}} {
			asked++
			go func() {
				got, err := way.from.ask("tcp", way.to, way.port)
				if !strings.HasPrefix(got, "b ") {
					got = fmt.Sprintf("%s: %q, %v", way.to, got, err)
				}
				result <- got
			}()
		}
	}
	eventually(t, "every SYN to the dead endpoint", func() bool {
		seen := 0
		for i := range families() {
			out, err := w.node.try("conntrack -L -p tcp --state SYN_SENT -f " + ipv[i])
			if err != nil {
				t.Fatal(err)
			}
			seen += strings.Count(out, "src="+dead[i][0]+" ")
		}
		return seen == asked
	})
	w.serve(map[uint16][2][]string{1: {{podsB[0]}, {podsB[1]}}})
	for range asked {
		if got := <-result; !strings.HasPrefix(got, "b ") {
			t.Error(got)
		}
	}
}
