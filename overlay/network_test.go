package overlay

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func writeKeys(t *testing.T, path string, keys ...byte) {
	t.Helper()
	var text strings.Builder
	text.WriteString("# gossip keys\n")
	for _, k := range keys {
		text.WriteString(base64.StdEncoding.EncodeToString(slices.Repeat([]byte{k}, keyLength)) + "\n")
	}
	// As an editor would: a new file, renamed.
	if err := os.WriteFile(path+".new", []byte(text.String()), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Without a key nothing starts; keys come, are rotated one node at a time,
// and a wrong one changes nothing.
func TestKeys(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	path := func(name string) string { return filepath.Join(c.dir, name+".key") }
	c.change = func(o *Options) { o.Encrypted, o.KeyFile = true, path(o.Node) }
	c.startAll(3)
	c.wait("it waits for the key", func() bool { return strings.Contains(c.nodes["node-1"].Snapshot().Waiting, "key") })
	writeKeys(t, path("node-1"), 1)
	writeKeys(t, path("node-2"), 1)
	writeKeys(t, path("node-3"), 9)
	c.wait("the wrong key is refused", func() bool { return c.nodes["node-1"].Snapshot().Counters["undecryptable"] > 0 })
	c.wait("two of three find each other", func() bool { return c.state("node-1", "node-2") == PeerAlive })
	if c.state("node-1", "node-3") != PeerFailed || len(c.nodes["node-3"].Snapshot().Claims) != 0 {
		t.Error("a node with the wrong key is in")
	}
	writeKeys(t, path("node-3"), 1)
	c.wait("three nodes settle", c.settled(1))
	for _, keys := range [][]byte{{1, 2}, {2, 1}, {2}} {
		for i := 1; i <= 3; i++ {
			writeKeys(t, path(nodeName(i)), keys...)
			c.wait("the keys are in use", func() bool {
				return len(c.nodes[nodeName(i)].Snapshot().KeyDigests) == len(keys) &&
					c.nodes[nodeName(i)].Snapshot().KeyDigests[0] == KeyDigest(slices.Repeat([]byte{keys[0]}, keyLength))
			})
		}
		c.wait("peers know the keys", func() bool {
			return c.settled(1)() && slices.Equal(c.nodes["node-1"].Snapshot().Peer("node-3").KeyDigests, c.nodes["node-3"].Snapshot().KeyDigests)
		})
	}
	if err := os.Chmod(path("node-1"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.wait("a world-readable file is refused", func() bool { return strings.Contains(fmt.Sprint(c.nodes["node-1"].Snapshot().Problems), "chmod") })
	if c.state("node-1", "node-2") != PeerAlive {
		t.Error("gossip stopped")
	}
}

// Whatever arrives on the wire changes nothing but counters.
func TestGarbage(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.startAll(2)
	c.wait("two nodes settle", c.settled(1))
	c.wait("node-2 announces its ledger", func() bool {
		s := c.nodes["node-1"].Snapshot()
		return s.Peer("node-2").LedgerDigest == s.LedgerDigest
	})
	before := c.nodes["node-1"].Snapshot()
	from, err := c.fabric.transport(nodePort(99))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Shutdown()
	forged := Record{Head: Head{Entry: Entry{Node: "node-2", ID: strings.Repeat("0", 32), Generation: 1 << 40, Version: 1, Stamp: StampOf(time.Now().Add(48 * time.Hour))}}}
	messages := [][]byte{
		nil, {0}, {wireVersion}, {wireVersion + 1, 'd', '{', '}'}, {wireVersion, 'z'}, []byte("\x01d{"), []byte("\x01v{}"),
		encode(kindWhole, whole{From: "node-9", Records: []Record{forged}}),
		encode(kindDelta, delta{Node: "node-2", ID: forged.ID, Generation: 1 << 40, Version: 1, Head: &forged.Head}),
		encode(kindBury, Tombstone{"node-2", StampOf(time.Now().Add(48 * time.Hour))}),
		encode(kindState, state{From: "node-9", Tombstones: []Tombstone{{"node-1", StampOf(time.Now())}}}),
	}
	labelled := func(b []byte) []byte { return append([]byte("\xf4\x04test"), b...) }
	for _, m := range messages {
		// 8 is memberlist's user message.
		for _, b := range [][]byte{m, append([]byte{8}, m...), labelled(append([]byte{8}, m...)), labelled(m)} {
			if len(b) > 0 {
				from.WriteTo(b, nodePort(1).String())
			}
			conn, err := from.DialTimeout(nodePort(1).String(), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
			conn.Write(b)
			conn.Close()
		}
	}
	c.wait("garbage is counted", func() bool {
		counters := c.nodes["node-1"].Snapshot().Counters
		return counters["malformed"] > 0 && counters["version"] > 0 && counters["clock"] > 0 && counters["stranger"] > 0 && counters["label"] > 0
	})
	after := c.nodes["node-1"].Snapshot()
	if !sameSnapshot(before, after) {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// 250 pods on a node, and one of them becomes ready.
func TestManyPods(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	n := Announcement{Underlay: []netip.Addr{nodeAddr(2)}, Transport: Transport{Backend: "host-gw"}}
	addr := netip.MustParseAddr("10.250.0.1")
	for i := range 250 {
		n.Pods = append(n.Pods, PodEntry{Namespace: "default", Name: fmt.Sprintf("a-deployment-with-a-long-name-%d", i), Addresses: []netip.Addr{addr}})
		addr = addr.Next()
	}
	pods := func(node string, ready int) func() bool {
		return func() bool {
			p := c.nodes[node].Snapshot().Peer("node-2")
			count := 0
			for _, pod := range p.Pods {
				if pod.Ready {
					count++
				}
			}
			return len(p.Pods) == 250 && count == ready
		}
	}
	c.nodes["node-2"].Announce(n)
	c.wait("250 pods are known", func() bool { return pods("node-1", 0)() && pods("node-3", 0)() })
	n.Pods = slices.Clone(n.Pods)
	n.Pods[77].Ready = true
	c.nodes["node-2"].Announce(n)
	c.wait("one is ready", func() bool { return pods("node-1", 1)() && pods("node-3", 1)() })
}

// UDP is blocked between the nodes: everything still works, and it is said.
func TestStreamsOnly(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.fabric.noUDP = true
	c.change = func(o *Options) { o.Timing.TCPOnly = 300 * time.Millisecond }
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	c.wait("it is reported", func() bool {
		s := c.nodes["node-1"].Snapshot()
		return s.Peer("node-2").TCPOnly && s.Peer("node-3").TCPOnly && strings.Contains(fmt.Sprint(s.Problems), "node-2 answers over TCP only")
	})
	c.distinct()
}

// Documents, key and peer arrive later, in any order, and lead to one end.
func TestStartedWithNothing(t *testing.T) {
	t.Parallel()
	orders := [][]string{{"documents", "key", "peer"}, {"documents", "peer", "key"}, {"key", "documents", "peer"}, {"key", "peer", "documents"}, {"peer", "documents", "key"}, {"peer", "key", "documents"}}
	for _, order := range orders {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2)
			path := func(name string) string { return filepath.Join(c.dir, name+".key") }
			c.change = func(o *Options) { o.Encrypted, o.KeyFile = true, path(o.Node) }
			writeKeys(t, path("node-2"), 1)
			full := c.settings
			c.settings = Settings{}
			a, err := Open(c.options(1))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			r := &running{a, cancel, make(chan struct{})}
			c.nodes["node-1"] = r
			go func() {
				defer close(r.done)
				r.Run(ctx)
			}()
			c.settings = full
			for _, arrives := range order {
				if s := r.Snapshot(); s.Waiting == "" || len(s.Claims) != 0 {
					t.Errorf("before %s: waits for %q, claims %v", arrives, s.Waiting, s.Claims)
				}
				switch arrives {
				case "documents":
					r.Configure(full)
					r.Announce(Announcement{Underlay: []netip.Addr{nodeAddr(1)}})
				case "key":
					writeKeys(t, path("node-1"), 1)
				case "peer":
					c.start(2)
				}
			}
			c.wait("two nodes settle", c.settled(1))
		})
	}
}

func TestRealNetworkAndRebind(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	bind := func(i int) netip.AddrPort {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", 10+i))
		if err != nil {
			t.Skip(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	binds := []netip.AddrPort{bind(1), bind(2)}
	c.settings.Roster = nil
	c.change = func(o *Options) {
		o.Transport = nil
		o.Address, o.Join = binds[0], binds[1:]
		if o.Node == "node-2" {
			o.Address, o.Join = binds[1], binds[:1]
		}
	}
	c.startAll(2)
	c.wait("two nodes settle over loopback", c.settled(1))
	before := c.claims()
	moved := c.nodes["node-2"]
	moved.Rebind(Binding{Address: bind(3), Profile: "lan"})
	c.wait("node-2 listens elsewhere", func() bool {
		conn, err := net.Dial("tcp", binds[1].String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	moved.Announce(Announcement{Underlay: []netip.Addr{nodeAddr(2)}, MTU: 1234})
	c.wait("node-2 has moved", func() bool {
		if c.state("node-2", "node-1") != PeerAlive {
			t.Fatal("node-1 failed in between")
		}
		return c.nodes["node-1"].Snapshot().Peer("node-2").MTU == 1234
	})
	if !sameClaims(before, c.claims()) {
		t.Error("claims changed")
	}
}
