package nft

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestConsistentHash has a client with many addresses. Each keeps its
// endpoint, on the cluster IP as on the node port, and when one endpoint
// leaves only its own clients move.
func TestConsistentHash(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podB, "b", podsB)
	w.server(w.podC, "c", podsC)
	const slots, clients = 101, 40
	var sources [2][]string
	for i := range families() {
		for n := range clients {
			a := fmt.Sprintf([]string{"192.0.2.%d", "2001:db8::%x"}[i], 120+n)
			w.client.run("ip address add " + a + []string{"/24", "/64 nodad"}[i] + " dev eth0")
			sources[i] = append(sources[i], a)
		}
	}
	set := func(ends [3]string) []string {
		list := make([]string, slots)
		for n := range list {
			list[n] = ends[n*7%3]
		}
		return list
	}
	serve := func(change func(name string) string) {
		pods := map[string][2]string{"a": podsA, "b": podsB, "c": podsC}
		var ends [2][3]string
		for n, name := range []string{"a", "b", "c"} {
			for i := range families() {
				ends[i][n] = pods[change(name)][i]
			}
		}
		w.serveWith(map[uint16][2][]string{1: {set(ends[0]), set(ends[1])}}, func(s *service) { s.hash = true })
	}
	ask := func(from, to string, port uint16) string {
		var got string
		err := w.client.do(func() error {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), Timeout: 5 * time.Second}
			c, err := d.Dial("tcp", net.JoinHostPort(to, fmt.Sprint(port)))
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			got, err = exchange(c, "tcp")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got[:1]
	}
	for i, f := range families() {
		serve(func(name string) string { return name })
		at := map[string]string{}
		var seen []string
		for _, from := range sources[i] {
			at[from] = ask(from, vips[i], 1)
			seen = append(seen, at[from])
			for range 3 {
				if got := ask(from, vips[i], 1); got != at[from] {
					t.Errorf("%s: %s first goes to %s, then to %s", f, from, at[from], got)
				}
			}
			if got := ask(from, nodes[i], 30001); got != at[from] {
				t.Errorf("%s: %s goes to %s by the node port, not to %s", f, from, got, at[from])
			}
		}
		slices.Sort(seen)
		if got := strings.Join(slices.Compact(seen), ""); got != "abc" {
			t.Errorf("%s: %d clients went to %s", f, clients, got)
		}
		serve(func(name string) string { return strings.ReplaceAll(name, "b", "c") })
		for _, from := range sources[i] {
			if got := ask(from, vips[i], 1); got != at[from] && at[from] != "b" {
				t.Errorf("%s: %s moved from %s to %s though b left", f, from, at[from], got)
			}
		}
	}
}
