package overlay

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests here wait more than they work.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	// A probe that is under way when memberlist shuts down ends by itself
	// within the probe interval, which may be stretched to four seconds.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// claims gives the claims of all running nodes, by name.
func (c *cluster) claims() map[string][]ClaimStatus {
	out := map[string][]ClaimStatus{}
	for name, r := range c.nodes {
		out[name] = r.Snapshot().Claims
	}
	return out
}

func (c *cluster) state(of, peer string) PeerState {
	if p := c.nodes[of].Snapshot().Peer(peer); p != nil {
		return p.State
	}
	return ""
}

func sameClaims(a, b map[string][]ClaimStatus) bool {
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return len(a) == len(b)
}

// Six nodes start at one instant, over real memberlist with real intervals.
// No subnet that pods could have had an address of is ever lost.
func TestSixNodesAtOnce(t *testing.T) {
	t.Parallel()
	runs := 1
	if os.Getenv("POPLIN_TEST_LONG") != "" {
		runs = 20
	}
	for run := range runs {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			c := newCluster(t, 6)
			c.change = func(o *Options) { o.Timing = Timing{} }
			c.settings.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/21")} // eight subnets: they meet
			c.startAll(6)
			confirmed := map[netip.Prefix]string{}
			settled := c.settled(1)
			c.wait("six nodes settle", func() bool {
				for name, r := range c.nodes {
					for _, own := range r.Snapshot().Claims {
						if own.Stage == Confirmed {
							if other := confirmed[own.Prefix]; other != "" && other != name {
								t.Fatalf("%s is confirmed for %s and %s", own.Prefix, other, name)
							}
							confirmed[own.Prefix] = name
						}
					}
				}
				return settled()
			})
			if len(confirmed) != 6 {
				t.Errorf("confirmed were %v: some subnet was lost again", confirmed)
			}
			c.distinct()
		})
	}
}

// Half of the cluster is cut off, everything restarts meanwhile, and it is
// mended: nothing is renumbered, and routes stay throughout.
func TestPartitionAndRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4)
	c.startAll(4)
	c.wait("four nodes settle", c.settled(1))
	before, owners := c.claims(), c.distinct()

	c.fabric.split(map[netip.Addr]int{nodeAddr(4): 1})
	c.wait("node-4 is failed", func() bool { return c.state("node-1", "node-4") == PeerFailed })
	if got := c.nodes["node-1"].Snapshot().Owners; !slices.Equal(got, owners) {
		t.Errorf("owners while node-4 is cut off: %v, want %v", got, owners)
	}
	for i := 1; i <= 4; i++ {
		c.stop(nodeName(i))
	}
	c.startAll(4)
	c.wait("three nodes see each other", func() bool { return c.state("node-1", "node-3") == PeerAlive && c.nodes["node-1"].Snapshot().Joined })
	c.fabric.split(nil)
	c.wait("four nodes settle again", c.settled(1))
	if after := c.claims(); !sameClaims(before, after) {
		t.Errorf("claims were %v, are %v", before, after)
	}
	c.distinct()
}

// A node that was stopped in good order counts as alive as long as its data
// plane is there: not with udp, not when its host is silent.
func TestStopping(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	c.nodes["node-3"].Announce(Announcement{Underlay: []netip.Addr{nodeAddr(3)}, Backend: "udp", Port: 8285})
	c.wait("node-3 announces udp", func() bool { return c.nodes["node-1"].Snapshot().Peer("node-3").Backend == "udp" })
	c.stop("node-3")
	c.wait("node-3 is failed", func() bool { return c.state("node-1", "node-3") == PeerFailed })

	c.stop("node-2")
	c.wait("node-2 is stopping", func() bool { return c.nodes["node-1"].Snapshot().Peer("node-2").Stopping })
	stopped := time.Now()
	c.wait("memberlist has noticed", func() bool {
		if c.state("node-1", "node-2") != PeerAlive {
			t.Fatal("node-2 is failed though its host refuses connections")
		}
		return time.Since(stopped) > 4*time.Second
	})
	c.fabric.split(map[netip.Addr]int{nodeAddr(2): 1})
	c.wait("node-2 is failed once its host is silent", func() bool { return c.state("node-1", "node-2") == PeerFailed })
}

func TestReinstalledNodeGetsItsSubnetBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	before := c.nodes["node-3"].Snapshot()
	c.stop("node-3")
	if err := os.RemoveAll(filepath.Join(c.dir, "node-3")); err != nil {
		t.Fatal(err)
	}
	c.start(3)
	c.wait("three nodes settle again", c.settled(1))
	after := c.nodes["node-3"].Snapshot()
	if after.NodeID == before.NodeID {
		t.Error("the reinstalled node has its old ID")
	}
	if after.Claims[0] != before.Claims[0] {
		t.Errorf("claim was %v, is %v", before.Claims, after.Claims)
	}
	c.distinct()
}

// Two machines of one name, both alive: the older stays, the newer claims
// nothing and says so.
func TestTwoMachinesOfOneName(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	before := c.nodes["node-3"].Snapshot()

	o := c.options(9)
	o.Node = "node-3"
	a, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	twin := c.run(a, 9)
	c.wait("the newer one says so", func() bool {
		return strings.Contains(fmt.Sprint(twin.Snapshot().Problems), "two nodes call themselves node-3")
	})
	c.wait("a peer says so", func() bool {
		return strings.Contains(fmt.Sprint(c.nodes["node-1"].Snapshot().Problems), "two nodes call themselves node-3")
	})
	if s := twin.Snapshot(); len(s.Claims) != 0 || s.Waiting == "" {
		t.Errorf("the newer one claims %v and waits for %q", s.Claims, s.Waiting)
	}
	if s := c.nodes["node-1"].Snapshot(); s.Peer("node-3").ID != before.NodeID || s.Peer("node-3").Underlay[0] != nodeAddr(3) {
		t.Errorf("node-3 is %v now", s.Peer("node-3"))
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	old := c.nodes["node-2"].Snapshot().Claims[0]
	pod := PodEntry{Namespace: "default", Name: "web-1", Addresses: []netip.Addr{c.nodes["node-3"].Snapshot().Claims[0].Prefix.Addr().Next()}, Ready: true}
	c.nodes["node-3"].Announce(Announcement{Underlay: []netip.Addr{nodeAddr(3)}, Pods: []PodEntry{pod}})
	c.wait("the pod is known", func() bool { return len(c.nodes["node-1"].Snapshot().Peer("node-3").Pods) == 1 })

	if err := c.nodes["node-1"].Release("node-7"); err == nil {
		t.Error("a node without claims was released")
	}
	for _, what := range []string{"node-2", c.nodes["node-3"].Snapshot().Claims[0].Prefix.String()} {
		if err := c.nodes["node-1"].Release(what); err != nil {
			t.Error(err)
		}
	}
	c.wait("node-2 claims anew", func() bool {
		s := c.nodes["node-2"].Snapshot()
		return len(s.Claims) == 1 && s.Claims[0].Stage == Confirmed && s.Claims[0].Epoch > old.Epoch
	})
	c.wait("node-3 lost its subnet and says so", func() bool {
		s := c.nodes["node-3"].Snapshot()
		return s.Claims[0].Stage == Lost && len(s.Problems) == 1
	})
	c.nodes["node-3"].Announce(Announcement{Underlay: []netip.Addr{nodeAddr(3)}})
	c.wait("node-3 claims anew once its pods are gone", c.settled(1))
	c.distinct()
}

// A node that leaves the roster is gone and its subnet is free; one that was
// never in it is refused.
func TestRoster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	c.stop("node-3")
	less := c.settings
	less.Roster = less.Roster[:2]
	c.nodes["node-1"].Configure(less)
	c.nodes["node-2"].Configure(less)
	c.wait("node-3 is gone", func() bool {
		s := c.nodes["node-2"].Snapshot()
		return s.Peer("node-3") == nil && len(s.Owners) == 2
	})
	stranger := c.start(3) // its own documents still name it
	c.wait("it is refused", func() bool { return c.nodes["node-1"].Snapshot().Counters["member: not in the roster"] > 0 })
	c.wait("it waits", func() bool { return stranger.Snapshot().Joined })
	if s := c.nodes["node-1"].Snapshot(); s.Peer("node-3") != nil || len(s.Owners) != 2 {
		t.Errorf("node-3 came in: %v", s)
	}
}

func TestDualStackPinnedAndFree(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.settings.PodCIDRs = append(c.settings.PodCIDRs, netip.MustParsePrefix("fd00:244::/48"))
	c.settings.SubnetLengthIPv6 = 64
	c.startAll(2)
	c.wait("two pairs", c.settled(2))
	// A Subnet document pins what node-2 claimed: the claim is void.
	taken := c.nodes["node-2"].Snapshot().Claims[0].Prefix
	c.settings.Pinned = []PinnedSubnet{{taken, "node-9"}}
	for _, r := range c.nodes {
		r.Configure(c.settings)
	}
	c.wait("node-2 has another", func() bool {
		s := c.nodes["node-2"].Snapshot()
		return c.settled(2)() && s.Claims[0].Prefix != taken
	})
	// Free Subnet documents: new claims come from these only.
	c.settings.Pinned = nil
	free := netip.MustParsePrefix("10.244.77.0/24")
	c.settings.Free = [][]netip.Prefix{{free}}
	for _, r := range c.nodes {
		r.Configure(c.settings)
	}
	v4 := c.nodes["node-1"].Snapshot().Claims[0].Prefix
	if err := c.nodes["node-1"].Release(v4.String()); err != nil {
		t.Fatal(err)
	}
	c.wait("node-1 claims the free one", func() bool { return c.settled(2)() && c.nodes["node-1"].Snapshot().Claims[0].Prefix == free })
	c.distinct()
}

func TestWithoutRoster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.settings.Roster = nil
	c.change = func(o *Options) {
		o.Bootstrap = o.Node == "node-1"
		if !o.Bootstrap {
			o.Join = []netip.AddrPort{nodePort(1)}
		}
	}
	alone := c.start(2)
	c.wait("node-2 gives up for now", func() bool { return alone.Snapshot().Joined })
	if s := alone.Snapshot(); len(s.Claims) != 0 || s.Waiting == "" {
		t.Errorf("a node that met nobody claims %v and waits for %q", s.Claims, s.Waiting)
	}
	c.start(1)
	c.start(3)
	c.wait("three nodes settle", c.settled(1))
	c.distinct()
}

func TestClockBeforeBuild(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	now := time.Unix(3600, 0)
	c.change = func(o *Options) {
		o.BuildTime = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		o.Now = func() time.Time { return now }
	}
	r := c.start(1)
	c.wait("it waits for the clock", func() bool { return strings.Contains(r.Snapshot().Waiting, "clock") })
	if s := r.Snapshot(); len(s.Claims) != 0 {
		t.Errorf("claims in 1970: %v", s.Claims)
	}
}

// What a node knows survives it, and can be read without it.
func TestReadState(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.startAll(2)
	c.wait("two nodes settle", c.settled(1))
	c.stop("node-2")
	c.wait("node-2 is stopping", func() bool { return c.nodes["node-1"].Snapshot().Peer("node-2").Stopping })
	live := c.nodes["node-1"].Snapshot()
	c.stop("node-1")
	s, err := ReadState(filepath.Join(c.dir, "node-1"), c.settings)
	if err != nil {
		t.Fatal(err)
	}
	if s.Joined || !slices.Equal(s.Claims, live.Claims) || !slices.Equal(s.Owners, live.Owners) || s.NodeID != live.NodeID {
		t.Errorf("read %+v, was %+v", s, live)
	}
	if p := s.Peer("node-2"); p == nil || p.State != PeerAlive || p.MTU != 1500 {
		t.Errorf("node-2 is %+v", p)
	}
	for _, name := range []string{fileIdentity, fileGeneration, fileClaims, fileLedger} {
		info, err := os.Stat(filepath.Join(c.dir, "node-1", name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	if s, err := ReadState(t.TempDir(), Settings{}); err != nil || len(s.Peers) != 0 {
		t.Errorf("an empty directory: %v, %v", s, err)
	}
}

// An image that was copied to another machine makes itself a new ID.
func TestAnotherMachine(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	o := c.options(1)
	o.MachineID = filepath.Join(t.TempDir(), "machine-id")
	open := func(machine string) *Agent {
		if err := os.WriteFile(o.MachineID, []byte(machine+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := open("one").Snapshot().NodeID
	if again := open("one").Snapshot().NodeID; again != first {
		t.Errorf("another ID on the same machine: %s, %s", first, again)
	}
	if second := open("two").Snapshot().NodeID; second == first {
		t.Error("the same ID on another machine")
	}
}

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
	n := Announcement{Underlay: []netip.Addr{nodeAddr(2)}, Backend: "host-gw"}
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
		o.Bind, o.Join = binds[0], binds[1:]
		if o.Node == "node-2" {
			o.Bind, o.Join = binds[1], binds[:1]
		}
	}
	c.startAll(2)
	c.wait("two nodes settle over loopback", c.settled(1))
	before := c.claims()
	moved := c.nodes["node-2"]
	moved.Rebind(bind(3), false, "lan")
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
