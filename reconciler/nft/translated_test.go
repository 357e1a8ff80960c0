package nft

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// While endpoints come and go, and with them the chains for their number, no
// datagram to the service leaves the node with the service's address, and none
// is refused. Every datagram is the first of a connection here, and there are as
// many commits as fit: as long as chains came with what leads to them, 50 got
// through.
func TestNothingPassesUntranslated(t *testing.T) {
	duration := 3 * time.Second
	if os.Getenv("POPLIN_TEST_LONG") == "1" {
		duration = 20 * time.Second
	}
	w := newNetwork(t)
	w.node.run("nft 'add table inet witness; add chain inet witness forward { type filter hook forward priority 0; };" +
		" add rule inet witness forward ip daddr " + serviceRange[0] + " counter;" +
		" add chain inet witness output { type filter hook output priority 0; };" +
		" add rule inet witness output icmp type destination-unreachable counter'")
	w.node.run("sysctl -qw net.netfilter.nf_conntrack_udp_timeout=0")
	two := map[uint16][2][]string{1: {{podsC[0], podsC[0]}}}
	three := map[uint16][2][]string{1: {{podsC[0], podsC[0], podsC[0]}}}
	w.serve(two)
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	var senders sync.WaitGroup
	defer senders.Wait()
	for range 2 {
		senders.Go(func() { w.datagrams(ctx, 64) })
	}
	commits := 0
	for ; ctx.Err() == nil; commits += 2 {
		w.serve(three)
		w.serve(two)
	}
	senders.Wait()
	if out := w.node.run("nft list table inet witness"); strings.Count(out, "counter packets 0 ") != 2 {
		t.Errorf("after %d commits: %s", commits, out)
	}
}

// datagrams sends datagrams from pod a to the first service, from some ports
// in turns, as fast as it can.
func (w *network) datagrams(ctx context.Context, ports int) {
	var conns []net.Conn
	for range ports {
		c, err := w.podA.dial("udp", vips[0], 1)
		if err != nil {
			w.t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		conns = append(conns, c)
	}
	for i := 0; ctx.Err() == nil; i++ {
		_, _ = conns[i%ports].Write([]byte("x")) // nobody listens: every other time the refusal is heard
	}
}
