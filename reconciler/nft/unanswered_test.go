package nft

import (
	"context"
	"strings"
	"testing"
)

// An answer may be on its way as the endpoint leaves: only connections that
// have none for a while are deleted.
func TestAnswerOnItsWayIsWaitedFor(t *testing.T) {
	w := newNetwork(t)
	p := w.target.purger
	p.setRunning(true) // so that this test looks, and nothing else
	w.serve(map[uint16][2][]string{1: {{podsC[0]}}})
	w.node.run("nft 'add table inet other; add chain inet other x { type filter hook prerouting priority 0; }; add rule inet other x ct state new accept'")
	for _, port := range []string{"4001", "4002"} {
		w.node.run("conntrack -I -p tcp --state SYN_SENT -t 100 -s " + podsA[0] + " -d " + vips[0] + " --sport " + port + " --dport 1" +
			" --dst-nat " + podsC[0] + ":8080 -u UNSET")
	}
	there := func(port string) bool { return strings.Contains(w.node.run("conntrack -L -p tcp"), "sport="+port+" ") }

	w.serve(map[uint16][2][]string{1: {{podsB[0]}}})
	if !p.purge(context.Background()) || !there("4001") || !there("4002") {
		t.Fatal("they were not waited for")
	}
	w.node.run("conntrack -U -p tcp -s " + podsA[0] + " -d " + vips[0] + " --sport 4001 --dport 1 -u SEEN_REPLY")
	eventually(t, "an end of the one without an answer", func() bool {
		return p.purge(context.Background()) && !there("4002")
	})
	if !there("4001") {
		t.Error("the one that was answered is gone, too")
	}
}
