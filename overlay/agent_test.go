package overlay

import (
	"flag"
	"fmt"
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
			note := func() {
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
			}
			c.wait("six nodes settle", func() bool { note(); return settled() })
			note() // the last may have been confirmed after it was looked at
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
	c.nodes["node-3"].Announce(Announcement{Underlay: []netip.Addr{nodeAddr(3)}, Transport: Transport{Backend: "udp", Port: 8285}, NeedsDaemon: true})
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

// Nodes that restart together meet one after the other. Who has not been met
// yet is not failed for that, until there was time to meet.
func TestRestartedTogether(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	stopAll := func() {
		for name := range c.nodes {
			c.stop(name)
		}
	}
	stopAll()
	met := func() bool { return c.nodes["node-1"].Snapshot().Joined && c.state("node-1", "node-2") == PeerAlive }
	c.change = func(o *Options) { o.Timing.Rejoin = time.Minute }
	c.startAll(2)
	c.wait("node-1 meets node-2", met)
	if got := c.state("node-1", "node-3"); got != PeerAlive {
		t.Errorf("node-3 is %s before it can have answered", got)
	}
	stopAll()
	c.change = nil
	c.startAll(2)
	c.wait("node-1 meets node-2 again", met)
	c.wait("node-3 is failed", func() bool { return c.state("node-1", "node-3") == PeerFailed })
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
