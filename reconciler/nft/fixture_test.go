package nft

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

// service is a test's idea of one: it makes the elements that a service
// comes down to.
type service struct {
	name     string
	address  netip.Addr // with nodePort 0
	nodePort bool
	protocol reconciler.Protocol
	port     uint16
	targets  []netip.AddrPort
	// outsideLocal: clients from outside get the endpoints in local.
	outsideLocal bool
	local        []netip.AddrPort
	affinity     time.Duration
	hash         bool     // by the client's address
	external     bool     // an address of clients outside
	sources      []string // prefixes of clients that may use it; none: all
	elsewhere    bool     // endpoints are on other nodes only: dropped, not refused
}

func (s service) family() reconciler.Family { return reconciler.FamilyOf(s.address) }

// pick is the chain that picks among endpoints.
func (s service) pick(local bool, slots int) reconciler.Chain {
	c := reconciler.Chain{Family: s.family(), NodePort: s.nodePort, Local: local, Slots: slots}
	if s.hash {
		c.Method = reconciler.MethodHash
	}
	if s.affinity > 0 {
		c.Method, c.Timeout, c.ID = reconciler.MethodSticky, int(s.affinity.Seconds()), 16
	}
	return c
}

// stick is the chain that makes clients stick to an endpoint, whose id is made
// of its subnet and its number there.
func (s service) stick(local bool, e netip.AddrPort) reconciler.Chain {
	b := e.Addr().AsSlice()
	id := int(b[len(b)-1]) + 4*int(b[len(b)/2-len(b)/16])
	return reconciler.Chain{Family: s.family(), NodePort: s.nodePort, Local: local, Method: reconciler.MethodStick, Timeout: int(s.affinity.Seconds()), ID: id % 16}
}

// sets are the sets that a kind of service has its elements in, and the
// chains that it goes to.
type sets struct {
	entry, outside, inside, endpoints, sticky, masquerade, sources reconciler.SetName
	traffic, connections                                           reconciler.SetName
	external, restricted                                           string
}

func (s service) sets() sets {
	if s.nodePort {
		return sets{reconciler.SetNodePorts, reconciler.SetOutsideNodePorts, reconciler.SetInsideNodePorts,
			reconciler.SetNodePortEndpoints, reconciler.SetNodePortSticky, reconciler.SetMasqueradeNodePorts, reconciler.SetNodePortSourceRanges,
			reconciler.SetNodePortTraffic, reconciler.SetNodePortConnections,
			reconciler.ChainNodePortExternal, reconciler.ChainNodePortRestricted}
	}
	return sets{reconciler.SetSpecialServices, reconciler.SetOutsideServices, reconciler.SetInsideServices,
		reconciler.SetEndpoints, reconciler.SetSticky, reconciler.SetMasqueradeServices, reconciler.SetSourceRanges,
		reconciler.SetTraffic, reconciler.SetConnections,
		reconciler.ChainExternal, reconciler.ChainRestricted}
}

// group makes the group; the address says only the family of a node port.
func (s service) group() *reconciler.Group {
	base := reconciler.Element{Family: s.family(), Address: s.address, Protocol: s.protocol, Port: s.port}
	if s.nodePort {
		base.Address = netip.Addr{}
	}
	sets := s.sets()
	g := &reconciler.Group{Name: "service " + s.name}
	add := func(set reconciler.SetName, change func(*reconciler.Element)) {
		e := base
		e.Set = set
		change(&e)
		g.Objects = append(g.Objects, e)
	}
	goes := func(set reconciler.SetName, chain string) {
		add(set, func(e *reconciler.Element) { e.Chain = chain })
	}
	all, local := reconciler.ChainRefuse, reconciler.ChainDiscard
	if s.elsewhere {
		all = reconciler.ChainDiscard
	}
	if n := len(s.targets); n > 0 {
		all = s.pick(false, n).Name()
	}
	if n := len(s.local); n > 0 {
		local = s.pick(true, n).Name()
	}
	masquerade := reconciler.ChainMasqueradeAll
	if s.outsideLocal {
		masquerade = reconciler.ChainMasqueradeInside
		goes(sets.outside, local)
	}
	switch {
	case len(s.sources) > 0:
		goes(sets.entry, sets.restricted)
	case s.outsideLocal:
		goes(sets.entry, sets.external)
	default:
		if _, ok := reconciler.NumberOf(all); ok && !s.nodePort {
			sets.entry = reconciler.SetServices
		}
		goes(sets.entry, all)
	}
	if s.outsideLocal || len(s.sources) > 0 {
		goes(sets.inside, all)
	}
	for _, p := range s.sources {
		add(sets.sources, func(e *reconciler.Element) { e.Prefix = netip.MustParsePrefix(p) })
	}
	if s.nodePort || s.external {
		goes(sets.masquerade, masquerade)
	}
	for _, set := range []reconciler.SetName{sets.traffic, sets.connections} {
		add(set, func(*reconciler.Element) {})
	}
	for first, list := range map[int][]netip.AddrPort{0: s.targets, reconciler.LocalSlots: s.local} {
		for i, target := range list {
			if s.affinity == 0 {
				add(sets.endpoints, func(e *reconciler.Element) { e.Slot, e.Target = uint32(first+i), target })
				continue
			}
			stick := s.stick(first > 0, target)
			_, id := firsts(stick)
			add(sets.sticky, func(e *reconciler.Element) { e.Slot, e.Chain = uint32(first+i), stick.Name() })
			add(sets.endpoints, func(e *reconciler.Element) { e.Slot, e.Target = id+uint32(stick.ID), target })
		}
	}
	return g
}

// chains makes the group of the pick chains that services need.
func chains(services ...service) *reconciler.Group {
	g := &reconciler.Group{Name: "chains"}
	number := func(f reconciler.Family, chain string) {
		if slots, ok := reconciler.NumberOf(chain); ok {
			g.Objects = append(g.Objects, reconciler.Element{Family: f, Set: reconciler.SetPicks, Slot: slots, Chain: chain})
		}
	}
	for _, f := range families() {
		number(f, reconciler.ChainRefuse)
	}
	seen := map[reconciler.Chain]bool{}
	for _, s := range services {
		for i, list := range [][]netip.AddrPort{s.targets, s.local} {
			if len(list) == 0 {
				continue
			}
			needed := []reconciler.Chain{s.pick(i == 1, len(list))}
			if s.affinity > 0 {
				needed = append(needed, needed[0].Recall())
				for _, target := range list {
					needed = append(needed, s.stick(i == 1, target))
				}
			}
			for _, c := range needed {
				if !seen[c] {
					seen[c] = true
					g.Objects = append(g.Objects, c)
					number(c.Family, c.Name())
				}
			}
		}
	}
	return g
}

// host makes the group of the tables and of sets of prefixes.
func host(ranges map[reconciler.SetName][]string) *reconciler.Group {
	g := &reconciler.Group{Name: "host"}
	for _, f := range families() {
		g.Objects = append(g.Objects, markedTable(f))
	}
	for set, list := range ranges {
		for _, p := range list {
			prefix := netip.MustParsePrefix(p)
			g.Objects = append(g.Objects, reconciler.Element{Family: reconciler.FamilyOf(prefix.Addr()), Set: set, Prefix: prefix})
		}
	}
	return g
}

// state makes a desired state of services.
func state(h *reconciler.Group, services ...service) reconciler.State {
	groups := []*reconciler.Group{h, chains(services...)}
	for _, s := range services {
		groups = append(groups, s.group())
	}
	return reconciler.NewState(groups...)
}

// randomState makes a state of a few services of all kinds.
func randomState(r *rand.Rand) reconciler.State {
	var services []service
	for i := range r.IntN(12) {
		s := service{name: fmt.Sprint(i), protocol: []reconciler.Protocol{reconciler.TCP, reconciler.UDP, reconciler.SCTP}[r.IntN(3)], nodePort: r.IntN(3) == 0, port: uint16(1000 + i)}
		pod := "10.244.%d.%d"
		s.address = netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)})
		if r.IntN(2) == 0 {
			s.address = netip.MustParseAddr(fmt.Sprintf("fd96::%d", i+1))
			pod = "fd24::%d:%d"
		}
		for range r.IntN(5) {
			s.targets = append(s.targets, netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(pod, r.IntN(3), 1+r.IntN(250))), uint16(8000+r.IntN(3))))
		}
		if s.outsideLocal = r.IntN(3) == 0; s.outsideLocal {
			s.local = s.targets[:r.IntN(len(s.targets)+1)]
		}
		if r.IntN(4) == 0 {
			s.affinity = []time.Duration{3 * time.Hour, time.Second}[r.IntN(2)]
			ids := map[int]bool{}
			s.targets = slices.DeleteFunc(s.targets, func(e netip.AddrPort) bool {
				id := s.stick(false, e).ID
				defer func() { ids[id] = true }()
				return ids[id]
			})
			s.local = s.local[:min(len(s.local), len(s.targets))]
		}
		if s.elsewhere = r.IntN(5) == 0; r.IntN(3) == 0 {
			s.sources = [][]string{{"10.0.0.0/8", "192.0.2.7/32"}, {"0.0.0.0/0"}, {"fd24::/48", "ff00::/8"}, {"::/0"}}[r.IntN(2)+2*(s.address.BitLen()/128)]
		}
		services = append(services, s)
	}
	all := []string{"10.0.0.0/8", "10.244.0.0/16", "10.244.1.0/24", "10.244.2.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "0.0.0.0/0",
		"fd24::/48", "fd24::/64", "fd24:0:0:1::/64", "ff00::/8", "fe00::/8", "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"}
	ranges := map[reconciler.SetName][]string{}
	for _, l := range layouts() {
		for _, p := range all {
			// Prefixes inside others are known only to who wrote them.
			if l.interval() && r.IntN(4) == 0 && !overlapsAny(p, ranges[l.name]) {
				ranges[l.name] = append(ranges[l.name], p)
			}
		}
	}
	h := host(ranges)
	for i := range r.IntN(5) {
		a := netip.AddrFrom4([4]byte{10, 244, 1, byte(i)})
		h.Objects = append(h.Objects,
			reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetHairpin, Address: a},
			reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetClusterAddresses, Address: a},
			reconciler.Element{Family: reconciler.IPv6, Set: reconciler.SetMasqueradeNodePorts, Protocol: reconciler.UDP, Port: uint16(30000 + i), Chain: reconciler.ChainMasqueradeAll})
	}
	return state(h, services...)
}

func overlapsAny(p string, list []string) bool {
	for _, o := range list {
		if netip.MustParsePrefix(o).Overlaps(netip.MustParsePrefix(p)) {
			return true
		}
	}
	return false
}

// target makes a target in a namespace.
func target(t testing.TB, n *netns) *Target {
	t.Helper()
	x, err := New(Options{NetNS: n.fd})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func observe(t testing.TB, x *Target) reconciler.Observation {
	t.Helper()
	o, err := x.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// reach brings a target to a state in one pass, as the engine does.
func reach(t testing.TB, x *Target, desired reconciler.State) {
	t.Helper()
	plan := reconciler.Diff(observe(t, x).State, desired)
	if err := x.Apply(context.Background(), plan, desired); err != nil {
		t.Fatal(err)
	}
}

// expect fails unless the kernel holds exactly the state, by what the target
// says and by what another one reads.
func expect(t testing.TB, n *netns, x *Target, desired reconciler.State) {
	t.Helper()
	for i, who := range []*Target{x, target(t, n)} {
		for _, op := range reconciler.Diff(observe(t, who).State, desired) {
			t.Errorf("observer %d still sees the need to %s", i, op)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// eventually waits for a condition, at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

// becomes waits until what is read is what is wanted, and says what it was last.
func becomes(t testing.TB, want string, read func() string) {
	t.Helper()
	got := read()
	for end := time.Now().Add(10 * time.Second); got != want; got = read() {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s; now %s", want, got)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
