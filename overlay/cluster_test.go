package overlay

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// cluster is a number of agents on one fabric. A node's state directory
// outlives its agent.
type cluster struct {
	t        *testing.T
	fabric   *fabric
	dir      string
	settings Settings
	log      *slog.Logger
	nodes    map[string]*running
	change   func(*Options)
}

type running struct {
	*Agent
	cancel func()
	done   chan struct{}
}

// quick timing keeps tests short; the order of the intervals is as usual.
func quick() Timing {
	return Timing{Confirm: 300 * time.Millisecond, Quiet: 100 * time.Millisecond, QuietLimit: time.Second, GiveUp: 2 * time.Second, Rejoin: 200 * time.Millisecond}
}

func newCluster(t *testing.T, nodes int) *cluster {
	t.Helper()
	c := &cluster{t: t, fabric: newFabric(), dir: t.TempDir(), nodes: map[string]*running{}, log: slog.New(slog.DiscardHandler)}
	if os.Getenv("POPLIN_TEST_LOG") != "" {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	c.settings = Settings{
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, SubnetLengthIPv4: 24, NeedsClaim: true,
	}
	for i := 1; i <= nodes; i++ {
		c.settings.Roster = append(c.settings.Roster, RosterNode{Name: nodeName(i), Addresses: []netip.Addr{nodeAddr(i)}})
	}
	t.Cleanup(func() {
		for name := range c.nodes {
			c.stop(name)
		}
	})
	return c
}

func nodeName(i int) string     { return fmt.Sprintf("node-%d", i) }
func nodeAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
func nodePort(i int) netip.AddrPort {
	return netip.AddrPortFrom(nodeAddr(i), 7946)
}

func (c *cluster) options(i int) Options {
	dir := filepath.Join(c.dir, nodeName(i))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	o := Options{
		Cluster: "test", Node: nodeName(i), StateDir: dir, Binding: Binding{Address: nodePort(i)}, Transport: c.fabric.transport,
		Timing: quick(), Log: c.log.With("node", nodeName(i)), MachineID: filepath.Join(c.dir, "machine-id"),
	}
	if c.change != nil {
		c.change(&o)
	}
	return o
}

// start opens and runs the i-th node.
func (c *cluster) start(i int) *running {
	c.t.Helper()
	a, err := Open(c.options(i))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.run(a, i)
}

func (c *cluster) run(a *Agent, i int) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{a, cancel, make(chan struct{})}
	a.Configure(c.settings)
	a.Announce(Announcement{Underlay: []netip.Addr{nodeAddr(i)}, Transport: Transport{Backend: "host-gw"}, MTU: 1500})
	go func() {
		defer close(r.done)
		if err := a.Run(ctx); err != nil {
			c.t.Error(err)
		}
	}()
	c.nodes[nodeName(i)] = r
	return r
}

func (c *cluster) stop(name string) {
	r := c.nodes[name]
	if r == nil {
		return
	}
	delete(c.nodes, name)
	r.cancel()
	<-r.done
}

// startAll starts nodes 1 to n at one instant.
func (c *cluster) startAll(n int) {
	c.t.Helper()
	agents := make([]*Agent, n)
	for i := range agents {
		a, err := Open(c.options(i + 1))
		if err != nil {
			c.t.Fatal(err)
		}
		agents[i] = a
	}
	var wg sync.WaitGroup
	for i, a := range agents {
		c.run(a, i+1)
	}
	wg.Wait()
}

// wait waits until the condition holds, and gives up after a while that is
// long enough for any machine.
func (c *cluster) wait(what string, condition func() bool) {
	c.t.Helper()
	start := time.Now()
	for !condition() {
		if time.Since(start) > 30*time.Second {
			for name, r := range c.nodes {
				c.t.Logf("%s: %+v", name, r.Snapshot())
			}
			c.t.Fatalf("%s: not within 30 s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Logf("%s: %v", what, time.Since(start).Round(time.Millisecond))
}

// settled reports whether every running node has n confirmed claims, all know the same
// ledger, and all see each other alive.
func (c *cluster) settled(claims int) func() bool {
	return func() bool {
		var digest string
		for _, r := range c.nodes {
			s := r.Snapshot()
			if digest == "" {
				digest = s.LedgerDigest
			}
			confirmed := 0
			for _, own := range s.Claims {
				if own.Stage == Confirmed {
					confirmed++
				}
			}
			alive := 0
			for _, p := range s.Peers {
				if p.State == PeerAlive && p.ID != "" {
					alive++
				}
			}
			if s.LedgerDigest != digest || confirmed != claims || alive != len(c.nodes)-1 || !s.Joined {
				return false
			}
		}
		return true
	}
}

// distinct fails unless all nodes agree on the owners and no subnet has two.
func (c *cluster) distinct() []Owner {
	c.t.Helper()
	var first []Owner
	for name, r := range c.nodes {
		owners := r.Snapshot().Owners
		if first == nil {
			first = owners
		}
		if !slices.Equal(first, owners) {
			c.t.Errorf("%s sees owners %v, another node %v", name, owners, first)
		}
		for i, o := range owners {
			for _, p := range owners[i+1:] {
				if o.Prefix.Overlaps(p.Prefix) {
					c.t.Errorf("%s: %v and %v overlap", name, o, p)
				}
			}
		}
	}
	return first
}

func TestTwoNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	c.startAll(2)
	c.wait("two nodes settle", c.settled(1))
	if owners := c.distinct(); len(owners) != 2 {
		t.Errorf("owners %v, want two", owners)
	}
}

// A node that is cut off for so short a time that it misses nobody learns that
// others missed it.
func TestAccused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.startAll(3)
	c.wait("three nodes settle", c.settled(1))
	c.fabric.split(map[netip.Addr]int{nodeAddr(3): 1})
	c.wait("node-3 is failed", func() bool { return c.state("node-1", "node-3") == PeerFailed })
	c.fabric.split(nil)
	c.wait("node-3 is back", func() bool { return c.state("node-1", "node-3") == PeerAlive })
	c.wait("node-3 knows", func() bool { return c.nodes["node-3"].Snapshot().Accused > 0 })
}
