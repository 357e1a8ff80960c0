package nft

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// begin tracks connections of pod a to the service, from ports, that the
// endpoint c has not answered yet.
func (w *network) begin(ports ...string) {
	w.t.Helper()
	w.serve(map[uint16][2][]string{1: {{podsC[0]}}})
	w.node.run("nft 'add table inet other; add chain inet other x { type filter hook prerouting priority 0; }; add rule inet other x ct state new accept'")
	for _, port := range ports {
		w.node.run("conntrack -I -p tcp --state SYN_SENT -t 100 -s " + podsA[0] + " -d " + vips[0] + " --sport " + port + " --dport 1" +
			" --dst-nat " + podsC[0] + ":8080 -u UNSET")
	}
}

// answered notes in conntrack that a connection has been answered.
func (w *network) answered(port string) {
	w.t.Helper()
	w.node.run("conntrack -U -p tcp -s " + podsA[0] + " -d " + vips[0] + " --sport " + port + " --dport 1 -u SEEN_REPLY")
}

// tracked reports whether there is a connection from a port.
func (w *network) tracked(port string) bool {
	w.t.Helper()
	return strings.Contains(w.node.run("conntrack -L -p tcp"), "sport="+port+" ")
}

// An answer may be on its way as the endpoint leaves: only connections that
// have none for a while are deleted.
func TestAnswerOnItsWayIsWaitedFor(t *testing.T) {
	w := newNetwork(t)
	p := w.target.purger
	p.setRunning(true) // so that this test looks, and nothing else
	w.begin("4001", "4002")
	there := w.tracked

	w.serve(map[uint16][2][]string{1: {{podsB[0]}}})
	if !p.purge(context.Background()) || !there("4001") || !there("4002") {
		t.Fatal("they were not waited for")
	}
	w.answered("4001")
	eventually(t, "an end of the one without an answer", func() bool {
		return p.purge(context.Background()) && !there("4002")
	})
	if !there("4001") {
		t.Error("the one that was answered is gone, too")
	}
}

// On a busy machine a connection is deleted long after it was read. One that
// was answered in between stays.
func TestAnswerSinceTheSearchIsSeen(t *testing.T) {
	w := newNetwork(t)
	p := w.target.purger
	p.setRunning(true) // so that this test looks, and nothing else
	w.begin("4001", "4002")
	w.serve(map[uint16][2][]string{1: {{podsB[0]}}})
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: w.target.netns})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var found []connection
	for m, err := range request(conn, conntrackGet, netlink.Dump, unix.NFPROTO_IPV4) {
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := parseConnection(m); ok && p.stale(c, nil) {
			c.tuple, c.id = bytes.Clone(c.tuple), bytes.Clone(c.id)
			found = append(found, c)
		}
	}
	if len(found) != 2 {
		t.Fatalf("%d connections are stale", len(found))
	}
	w.answered("4001")
	deleted := 0
	for range 2 { // the second time they are gone
		for _, c := range found {
			n, err := p.deleteStale(conn, reconciler.IPv4, c, nil)
			if err != nil {
				t.Fatal(err)
			}
			deleted += n
		}
	}
	if deleted != 1 || !w.tracked("4001") || w.tracked("4002") {
		t.Errorf("%d deleted: %s", deleted, w.node.run("conntrack -L -p tcp"))
	}
}
