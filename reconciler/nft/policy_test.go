package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTrafficPolicies sees who reaches which endpoint where the traffic
// policies are Local. Node ports of ports 1 to 4 are, and so are the cluster
// IPs of 5 and 6.
func TestTrafficPolicies(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podC, "c", podsC)
	w.server(w.node, "node", nodes)
	w.serveWith(map[uint16][2][]string{
		1: {{podsA[0]}, {podsA[1]}},
		2: {{podsC[0]}, {podsC[1]}},
		3: {{podsA[0], podsC[0]}, {podsA[1], podsC[1]}},
		4: {{nodes[0]}, {nodes[1]}},
		5: {{podsA[0], podsC[0]}, {podsA[1], podsC[1]}},
		6: {{podsC[0]}, {podsC[1]}},
		7: {},
	}, func(s *service) {
		here := slices.DeleteFunc(slices.Clone(s.targets), func(e netip.AddrPort) bool { return slices.Contains(podsC[:], e.Addr().String()) })
		switch {
		case s.nodePort && s.port < 30005:
			s.outsideLocal, s.local = true, here
		case !s.nodePort && s.port > 4:
			s.elsewhere, s.targets = len(here) == 0 && len(s.targets) > 0, here
		}
	})
	for i, f := range families() {
		for _, proto := range []string{"tcp", "udp"} {
			t.Run(fmt.Sprint(f, " ", proto), func(t *testing.T) {
				w.policies(t, i, proto)
				w.dropped(t, w.client, proto, nodes[i], 30002)
				w.dropped(t, w.podA, proto, vips[i], 6)
				w.dropped(t, w.node, proto, vips[i], 6)
			})
		}
	}
}

// policies goes through who reaches what; i is 0 for IPv4.
func (w *network) policies(t *testing.T, i int, proto string) {
	vip, node := vips[i], nodes[i]
	for _, c := range []struct {
		name string
		from *netns
		to   string
		port uint16
		want []string // servers and the clients that they see; none is refused
	}{
		{"outside to node port", w.client, node, 30001, []string{"a " + client[i]}},
		{"outside to node port, host network", w.client, node, 30004, []string{"node " + client[i]}},
		{"outside to node port, here of two", w.client, node, 30003, []string{"a " + client[i]}},
		{"pod to node port", w.podB, node, 30003, []string{"a " + podsB[i], "c " + podsB[i]}},
		{"pod to node port, elsewhere", w.podA, node, 30002, []string{"c " + podsA[i]}},
		{"pod to node port, itself", w.podA, node, 30001, []string{"a " + bridge[i]}},
		{"remote pod to node port, back", w.podC, node, 30002, []string{"c " + node}},
		{"remote pod to node port", w.podC, node, 30003, []string{"a " + podsC[i], "c " + node}},
		{"host to node port", w.node, node, 30003, []string{"a " + node, "c " + node}},
		{"pod to cluster IP, here of two", w.podB, vip, 5, []string{"a " + podsB[i]}},
		{"host to cluster IP, here of two", w.node, vip, 5, []string{"a " + bridge[i]}},
		{"outside to cluster IP, here of two", w.client, vip, 5, []string{"a " + client[i]}},
		{"node port of an internal policy", w.client, node, 30006, []string{"c " + node}},
		{"outside to nobody", w.client, node, 30007, nil},
		{"pod to nobody", w.podA, vip, 7, nil},
	} {
		seen := map[string]bool{}
		for range 40 {
			got, err := c.from.ask(proto, c.to, c.port)
			if len(c.want) == 0 {
				if !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%s: %q, %v", c.name, got, err)
				}
				break
			}
			if err != nil || !slices.Contains(c.want, got) {
				t.Errorf("%s: %q, %v, not of %q", c.name, got, err, c.want)
				break
			}
			if seen[got] = true; len(seen) == len(c.want) && (len(c.want) > 1 || len(seen) == 1) && strings.Contains(c.name, "node port") {
				break
			}
		}
		if len(seen) < len(c.want) {
			t.Errorf("%s: of %q only %v", c.name, c.want, seen)
		}
	}
}

// dropped sees that packets to a frontend get no answer at all, not even
// that nobody is there. A refusal would come at once.
func (w *network) dropped(t *testing.T, from *netns, proto, address string, port uint16) {
	t.Helper()
	err := from.do(func() error {
		c, err := net.DialTimeout(proto, net.JoinHostPort(address, fmt.Sprint(port)), 300*time.Millisecond)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 10))
		return err
	})
	// On its own host a datagram that is dropped fails with EPERM.
	var timeout net.Error
	if !(errors.As(err, &timeout) && timeout.Timeout()) && !(from == w.node && errors.Is(err, unix.EPERM)) {
		t.Errorf("%s port %d: %v, not a silence", address, port, err)
	}
}
