package overlay

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testCore is a core with a clock that is set by hand, and no network.
type testCore struct {
	*core
	at    time.Time
	drops map[string]int
}

func newTestCore(t *testing.T, s Settings) *testCore {
	t.Helper()
	c := &testCore{at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), drops: map[string]int{}}
	o := Options{
		Node: "node-1", StateDir: t.TempDir(), MachineID: os.DevNull, Log: slog.New(slog.DiscardHandler),
		Timing: Timing{}.withDefaults(""), Now: func() time.Time { return c.at },
	}
	core, err := openCore(o)
	if err != nil {
		t.Fatal(err)
	}
	c.core = core
	c.out, c.count = nobody{}, func(reason string) { c.drops[reason]++ }
	c.start()
	c.onSettings(s)
	c.onNetwork(evNetwork{gossip: netip.MustParseAddrPort("192.0.2.1:7946")})
	return c
}

// record makes a record of another node with one claim.
func (c *testCore) record(name, subnet string) Record {
	id := strings.Repeat(name[len(name)-1:], idLength)
	s := StampOf(c.at)
	return Record{Head: Head{Entry: Entry{
		Node: name, ID: id, Birth: s, Generation: 1, Version: 1, Boot: "1", Stamp: s,
		Claims: []Claim{{netip.MustParsePrefix(subnet), s, true}},
	}}}
}

// meet makes a node alive and its record known.
func (c *testCore) meet(r Record) {
	c.handle(evMember{r.Node, netip.MustParseAddrPort("192.0.2.9:7946"), meta{id: r.ID, boot: r.Boot}, true})
	c.handle(evMessage(encode(kindWhole, whole{From: r.Node, Records: []Record{r}})))
	c.handle(evMessage(encode(kindState, state{From: r.Node})))
	c.settle()
}

func (c *testCore) owner(subnet string) string {
	for _, o := range c.snapshot().Owners {
		if o.Prefix.String() == subnet {
			return o.Node
		}
	}
	return ""
}

// Without a roster a silent owner keeps its subnet for the retention, and is
// forgotten some time later.
func TestRetention(t *testing.T) {
	c := newTestCore(t, Settings{Retention: time.Hour})
	r := c.record("node-2", "10.244.2.0/24")
	c.meet(r)
	c.handle(evMember{name: "node-2"})
	for _, step := range []struct {
		after time.Duration
		owner string
		peer  bool
		known int
	}{
		{59 * time.Minute, "node-2", true, 1},
		{2 * time.Minute, "", false, 1},
		{forgetAfter, "", false, 0},
	} {
		c.at = c.at.Add(step.after)
		c.settle()
		_, known := c.records.get(r.key())
		if got := c.owner("10.244.2.0/24"); got != step.owner || (c.snapshot().Peer("node-2") != nil) != step.peer || known != (step.known == 1) {
			t.Errorf("after %v: owner %q, peers %v, known %v", step.after, got, c.snapshot().Peers, known)
		}
	}
	// Push/pull with somebody who remembers does not bring it back.
	c.meet(c.record("node-3", "10.244.3.0/24"))
	c.handle(evMessage(encode(kindWhole, whole{From: "node-3", Records: []Record{r}})))
	c.settle()
	if got := c.owner("10.244.2.0/24"); got != "" {
		t.Errorf("%s is back", got)
	}
}

// With a roster it keeps it for ever.
func TestNoRetentionWithRoster(t *testing.T) {
	c := newTestCore(t, Settings{Retention: time.Hour, Roster: []RosterNode{{Name: "node-1"}, {Name: "node-2"}}})
	c.meet(c.record("node-2", "10.244.2.0/24"))
	c.handle(evMember{name: "node-2"})
	c.at = c.at.Add(1000 * time.Hour)
	c.settle()
	if c.owner("10.244.2.0/24") != "node-2" || c.snapshot().Peer("node-2").State != PeerFailed {
		t.Error("node-2 lost its subnet")
	}
}

// A node whose documents are older than a peer's does not bury that peer.
func TestUnknownToTheRosterIsNotBuried(t *testing.T) {
	c := newTestCore(t, Settings{Roster: []RosterNode{{Name: "node-1"}, {Name: "node-2"}}})
	c.meet(c.record("node-2", "10.244.2.0/24"))
	c.handle(evMessage(encode(kindWhole, whole{From: "node-2", Records: []Record{c.record("node-3", "10.244.3.0/24")}})))
	c.onSettings(Settings{Roster: []RosterNode{{Name: "node-1"}, {Name: "node-2"}, {Name: "node-4"}}})
	c.settle()
	s := c.snapshot()
	if len(c.ledger.tombs) != 0 || c.owner("10.244.3.0/24") != "" || len(c.ledger.standing()) != 2 {
		t.Errorf("tombstones %v, standing %v", c.ledger.tombs, c.ledger.standing())
	}
	if !strings.Contains(s.Problems[0].What, "node-3 claims 10.244.3.0/24 but is not in the roster") {
		t.Errorf("problems %v", s.Problems)
	}
}

func TestExternalNodesAreAlive(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.7")
	c := newTestCore(t, Settings{Roster: []RosterNode{{Name: "node-1"}, {Name: "router", External: true, Addresses: []netip.Addr{addr}}}})
	p := c.snapshot().Peer("router")
	if p == nil || p.State != PeerAlive || !p.External || p.Underlay[0] != addr {
		t.Errorf("router is %+v", p)
	}
	if !c.joined() || len(c.targets()) != 0 {
		t.Error("an external node is waited for")
	}
}

func TestClockAheadIsRefused(t *testing.T) {
	c := newTestCore(t, Settings{})
	c.meet(c.record("node-2", "10.244.2.0/24"))
	r := c.record("node-3", "10.244.3.0/24")
	r.Claims[0].Epoch = StampOf(c.at.Add(25 * time.Hour))
	c.handle(evMessage(encode(kindWhole, whole{From: "node-2", Records: []Record{r}})))
	c.handle(evMessage(encode(kindBury, Tombstone{"node-2", r.Claims[0].Epoch})))
	if c.drops["clock"] != 2 || c.owner("10.244.2.0/24") != "node-2" || c.owner("10.244.3.0/24") != "" || c.clock.last > StampOf(c.at.Add(time.Hour)) {
		t.Errorf("drops %v, clock %v", c.drops, c.clock.last)
	}
}

// A node whose state directory was put back from a backup goes beyond the
// record that others have of it; one that is outrun again and again is a
// clone, and says so.
func TestOutrun(t *testing.T) {
	c := newTestCore(t, Settings{})
	c.settle()
	mine := c.self
	later := mine
	later.Generation, later.Boot = mine.Generation+7, "ffffffff"
	c.meet(c.record("node-2", "10.244.2.0/24"))
	c.handle(evMessage(encode(kindWhole, whole{From: "node-2", Records: []Record{later}})))
	c.settle()
	if c.self.Generation != later.Generation+1 {
		t.Errorf("generation %d after %d was seen", c.self.Generation, later.Generation)
	}
	d, err := readDisk(c.opts.StateDir)
	if err != nil || d.generation != c.self.Generation {
		t.Errorf("generation on disk %d, %v", d.generation, err)
	}
	for range outrunLimit {
		later.Generation = c.generation + 1
		c.handle(evMessage(encode(kindWhole, whole{From: "node-2", Records: []Record{later}})))
		c.settle()
	}
	version := c.self.Version
	c.handle(evAnnouncement(Announcement{MTU: 1234}))
	c.settle()
	if c.self.Version != version || !strings.Contains(c.snapshot().Problems[0].What, "one of the two is a copy") {
		t.Errorf("a clone publishes version %d, problems %v", c.self.Version, c.snapshot().Problems)
	}
}

// What cannot be written to disk is not announced.
func TestClaimsAreWrittenFirst(t *testing.T) {
	s := Settings{
		Roster: []RosterNode{{Name: "node-1"}}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, SubnetLengthIPv4: 24, NeedsClaim: true,
	}
	c := newTestCore(t, s)
	// A directory in the way of the file fails for root, too.
	blocked := filepath.Join(c.opts.StateDir, fileClaims)
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(time.Minute)
	c.settle()
	c.at = c.at.Add(time.Minute)
	c.settle()
	if len(c.self.Claims) != 0 || len(c.snapshot().Claims) != 0 || !strings.Contains(c.snapshot().Problems[0].What, "cannot be written") {
		t.Errorf("announced %v, problems %v", c.self.Claims, c.snapshot().Problems)
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	c.settle()
	d, err := readDisk(c.opts.StateDir)
	if err != nil || len(c.self.Claims) != 1 || len(d.claims.Claims) != 1 {
		t.Errorf("announced %v, on disk %v, %v", c.self.Claims, d.claims, err)
	}
	c.at = c.at.Add(time.Minute)
	c.settle()
	if got := c.snapshot().Claims; got[0].Stage != Confirmed {
		t.Errorf("claims %v", got)
	}
}

// A claim outside the ranges is kept and reported.
func TestClaimOutsideTheRanges(t *testing.T) {
	s := Settings{
		Roster: []RosterNode{{Name: "node-1"}}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, SubnetLengthIPv4: 24, NeedsClaim: true,
	}
	c := newTestCore(t, s)
	for range 3 {
		c.at = c.at.Add(time.Minute)
		c.settle()
	}
	before := c.snapshot().Claims
	s.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}
	c.onSettings(s)
	c.settle()
	if got := c.snapshot(); len(got.Claims) != 1 || got.Claims[0] != before[0] || got.Problems[0].Remedy != "poplin release "+before[0].Prefix.String() {
		t.Errorf("claims %v, problems %v", got.Claims, got.Problems)
	}
	if err := c.release(before[0].Prefix.String()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.at = c.at.Add(time.Minute)
		c.settle()
	}
	if got := c.snapshot().Claims; len(got) != 1 || !s.PodCIDRs[0].Overlaps(got[0].Prefix) || got[0].Stage != Confirmed {
		t.Errorf("claims %v", got)
	}
}

// A node with nobody to ask says what would help, until it has met somebody.
func TestNobodyToAsk(t *testing.T) {
	c := newTestCore(t, Settings{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, SubnetLengthIPv4: 24, NeedsClaim: true})
	c.settle()
	if got := c.snapshot().Problems; len(got) != 1 || !strings.Contains(got[0].Remedy, "--bootstrap") {
		t.Errorf("problems %v", got)
	}
	c.meet(c.record("node-2", "10.244.2.0/24"))
	if got := c.snapshot().Problems; len(got) != 0 {
		t.Errorf("problems %v after meeting a peer", got)
	}
}
