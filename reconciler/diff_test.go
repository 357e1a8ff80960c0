package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// randomObject draws from a small universe, so that keys meet.
func randomObject(t *rapid.T) Object {
	n := rapid.IntRange(0, 5).Draw(t, "n")
	addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return Namespace{Name: fmt.Sprint("ns", n)}
	case 1:
		l := Link{Name: fmt.Sprint("l", n), Type: LinkBridge, MTU: 1400 + rapid.IntRange(0, 1).Draw(t, "mtu")}
		if rapid.Bool().Draw(t, "veth") {
			l.Type, l.Peer, l.PeerNetns = LinkVeth, "eth0", fmt.Sprint("ns", n)
		}
		return l
	case 2:
		return Address{Link: fmt.Sprint("l", n), Prefix: netip.PrefixFrom(addr, 24)}
	case 3:
		return Route{Destination: netip.PrefixFrom(addr, 32), Link: fmt.Sprint("l", n), MTU: rapid.IntRange(0, 2).Draw(t, "mtu")}
	case 5:
		return ProxyNeighbour{Address: addr, Link: fmt.Sprint("l", n)}
	case 4:
		return Sysctl{Name: fmt.Sprint("net/", n), Value: fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "value"))}
	}
	return Element{Family: IPv4, Set: SetEndpoints, Address: addr, Protocol: TCP, Port: 80,
		Target: netip.AddrPortFrom(addr, uint16(rapid.IntRange(1, 3).Draw(t, "port")))}
}

func randomState(t *rapid.T, shared State) State {
	var groups []*Group
	seen := map[Key]bool{}
	for g := range shared.Groups() {
		if rapid.Bool().Draw(t, "share") {
			groups = append(groups, g)
			for _, o := range g.Objects {
				seen[o.Key()] = true
			}
		}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "groups") {
		g := &Group{Name: fmt.Sprintf("g%d-%d", i, len(groups))}
		for range rapid.IntRange(0, 6).Draw(t, "objects") {
			if o := randomObject(t); !seen[o.Key()] {
				seen[o.Key()] = true
				g.Objects = append(g.Objects, o)
			}
		}
		groups = append(groups, g)
	}
	return NewState(groups...)
}

// play applies a plan to a state as a map, strictly.
func play(t *rapid.T, s State, plan Plan) map[Key]Object {
	m := map[Key]Object{}
	for _, o := range s.Objects() {
		m[o.Key()] = o
	}
	for _, op := range plan {
		key := op.Object().Key()
		if have := m[key]; have != op.Before {
			t.Fatalf("%s: there is %v", op, have)
		}
		if op.After == nil {
			delete(m, key)
		} else {
			m[key] = op.After
		}
	}
	return m
}

func TestDiffLeadsFromOneStateToTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := randomState(t, State{})
		b := randomState(t, a)
		if plan := Diff(a, a); len(plan) != 0 {
			t.Fatalf("a state differs from itself: %v", plan)
		}
		got, want := play(t, a, Diff(a, b)), play(t, b, nil)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestDiffIgnoresGrouping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := randomState(t, State{})
		all := &Group{Name: "kernel"}
		for _, o := range a.Objects() {
			all.Objects = append(all.Objects, o)
		}
		if plan := Diff(NewState(all), a); len(plan) != 0 {
			t.Fatalf("the same objects in other groups: %v", plan)
		}
	})
}

func TestDiffOrdersByDependency(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := randomState(t, State{})
		plan := Diff(a, randomState(t, a))
		deleting := false
		var last Kind
		for i, op := range plan {
			replaced := op.Verb == Delete && i+1 < len(plan) && plan[i+1].Verb == Add && plan[i+1].After.Key() == op.Before.Key()
			if op.Verb == Delete && !replaced && !deleting {
				deleting, last = true, KindElement
			}
			k := op.Object().Kind()
			if deleting && (op.Verb != Delete || k > last) || !deleting && k < last {
				t.Fatalf("out of order at %d: %v", i, plan)
			}
			last = k
		}
	})
}

// TestTextShowsEveryField changes each field of each object in turn: the
// line must change with it.
func TestTextShowsEveryField(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	objects := []Object{
		Namespace{Name: "a"}, Link{Name: "a", Type: LinkVeth}, Sysctl{Name: "a", Value: "1"},
		Address{Link: "a", Prefix: netip.PrefixFrom(addr, 24)}, Route{Link: "a", Destination: netip.PrefixFrom(addr, 24)},
		WireGuard{Device: "a"}, WireGuardPeer{Device: "a"}, Neighbour{Link: "a", Address: addr}, FDBEntry{Link: "a", Destination: addr}, ProxyNeighbour{Link: "a", Address: addr}, Tunnel{Device: "a"}, TunnelPeer{Device: "a"}, File{Path: "/a"}, Table{Family: IPv4}, Chain{Family: IPv4, Method: MethodSticky, Slots: 2, Timeout: 9, ID: 4},
		Element{Family: IPv4, Set: SetEndpoints, Address: addr, Protocol: TCP, Port: 1, Target: netip.AddrPortFrom(addr, 2)},
		Element{Family: IPv4, Set: SetForeignSources, Link: "a", Address: addr, Protocol: TCP, Port: 1},
		Element{Family: IPv4, Set: SetServices, Address: addr, Protocol: TCP, Port: 1, Chain: "pick-1"},
	}
	for _, o := range objects {
		for i := range reflect.TypeOf(o).NumField() {
			field := reflect.TypeOf(o).Field(i).Name
			if reflect.TypeOf(o) == reflect.TypeFor[Element]() && elementFieldUnused(o.(Element), field) {
				continue
			}
			changed := reflect.New(reflect.TypeOf(o)).Elem()
			changed.Set(reflect.ValueOf(o))
			alter(t, changed.Field(i))
			if text := changed.Interface().(Object).String(); text == o.String() {
				t.Errorf("%T.%s does not show in %q", o, field, text)
			}
		}
	}
}

func elementFieldUnused(e Element, field string) bool {
	switch field {
	case "Slot", "Target":
		return e.Set != SetEndpoints
	case "Chain":
		return e.Set != SetServices
	}
	return false
}

func alter(t *testing.T, v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.77")
	case *netip.Prefix:
		*x = netip.MustParsePrefix("192.0.2.0/25")
	case *netip.AddrPort:
		*x = netip.MustParseAddrPort("192.0.2.77:7")
	case *MAC:
		*x = MAC{1, 2, 3, 4, 5, 6}
	default:
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int:
			v.SetInt(v.Int() + 77)
		case reflect.Uint8, reflect.Uint16, reflect.Uint32:
			v.SetUint(v.Uint() + 77)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		default:
			t.Fatalf("no way to alter %s", v.Type())
		}
	}
}

func TestStateSurvivesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := randomState(t, State{})
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var b State
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatal(err)
		}
		if plan := Diff(a, b); len(plan) != 0 {
			t.Fatalf("what was read differs: %v", plan)
		}
	})
}

func TestAttribute(t *testing.T) {
	route := func(mtu int) Route {
		return Route{Destination: netip.MustParsePrefix("10.0.0.0/24"), Link: "eth0", MTU: mtu}
	}
	group := func(o ...Object) *Group {
		return &Group{Name: "peer node-2", Origin: Origin{"nodes.yaml", 3, "r1"}, Objects: o}
	}
	g := group(route(1400))
	for _, c := range []struct {
		name            string
		kernel          []Object
		before, after   State
		first           bool
		cause           Cause
		origin, wantOps string
	}{
		{"first round", nil, State{}, NewState(g), true, CauseStart, "nodes.yaml:3", "+"},
		{"new document", nil, State{}, NewState(g), false, CauseConfig, "nodes.yaml:3", "+"},
		{"drift, same group", nil, NewState(g), NewState(g), false, CauseDrift, "nodes.yaml:3", "+"},
		{"drift, equal group", []Object{route(9)}, NewState(group(route(1400))), NewState(g), false, CauseDrift, "nodes.yaml:3", "~"},
		{"changed document", []Object{route(1300)}, NewState(group(route(1300))), NewState(g), false, CauseConfig, "nodes.yaml:3", "~"},
		{"removed document", []Object{route(1400)}, NewState(g), State{}, false, CauseConfig, "nodes.yaml:3", "-"},
		{"leftover", []Object{route(1400)}, State{}, State{}, false, CauseDrift, "", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kernel := NewState(&Group{Name: "kernel", Objects: c.kernel})
			plan := Attribute(Diff(kernel, c.after), c.before, c.after, CauseConfig, c.first)
			if len(plan) != 1 || plan[0].Cause != c.cause || plan[0].Origin.String() != c.origin || !strings.HasPrefix(plan[0].String(), c.wantOps) {
				t.Errorf("got %+v", plan)
			}
		})
	}
}

func TestConvergeReachesDesired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := NewMemory(KindNamespace, KindLink, KindSysctl, KindAddress, KindRoute, KindProxyNeighbour)
		nft := NewMemory(KindTable, KindChain, KindElement)
		engine := NewEngine(host, nft)
		state := State{}
		for range 3 {
			state = closed(randomState(t, state))
			round := engine.Converge(context.Background(), func(Observation) (Desired, error) {
				return Desired{State: state, Cause: CauseConfig, Complete: true}, nil
			})
			if round.Err != nil {
				t.Fatal(round.Err)
			}
			seen, _ := engine.Observe(context.Background())
			if plan := Diff(seen.State, state); len(plan) != 0 {
				t.Fatalf("left: %v", plan)
			}
		}
	})
}

// closed drops objects whose needs are not in the state.
func closed(s State) State {
	for {
		keys := map[Key]bool{}
		for _, o := range s.Objects() {
			keys[o.Key()] = true
		}
		out := s.Only(func(o Object) bool {
			for _, n := range o.Needs() {
				if !keys[n] {
					return false
				}
			}
			return true
		})
		if out.Len() == s.Len() {
			return out
		}
		s = out
	}
}

func desire(s State, complete bool) func(Observation) (Desired, error) {
	return func(Observation) (Desired, error) {
		return Desired{State: s, Cause: CauseConfig, Complete: complete}, nil
	}
}

func TestNothingIsDeletedBeforeDesiredIsComplete(t *testing.T) {
	host := NewMemory(KindLink)
	host.Put(Link{Name: "old", Type: LinkBridge})
	engine := NewEngine(host)
	want := NewState(&Group{Name: "host", Objects: []Object{Link{Name: "new", Type: LinkBridge}}})
	round := engine.Converge(context.Background(), desire(want, false))
	if len(round.Plan) != 1 || round.Plan[0].Verb != Add || round.Withheld != 1 || round.Settled() {
		t.Fatalf("got %+v", round)
	}
	round = engine.Converge(context.Background(), desire(want, true))
	if len(round.Plan) != 1 || round.Plan[0].Verb != Delete || !round.Settled() {
		t.Fatalf("got %+v", round)
	}
}

// What was withheld, or stood behind a conflict, is no drift when it is done.
func TestDoingLaterIsNoDrift(t *testing.T) {
	ctx := context.Background()
	host := NewMemory(KindLink, KindElement)
	element := func(verdict string) Element {
		return Element{Family: IPv4, Set: SetServices, Address: netip.MustParseAddr("10.0.0.1"), Protocol: TCP, Port: 80, Chain: verdict}
	}
	host.Put(Link{Name: "old", Type: LinkBridge})
	engine := NewEngine(host)
	state := func(verdict string) State {
		return NewState(&Group{Name: "host", Objects: []Object{Link{Name: "br", Type: LinkBridge}, element(verdict)}})
	}
	engine.Converge(ctx, desire(state("refuse"), false))
	host.Conflicts(Conflict{Key: LinkKey{"", "br"}, What: "link br is not poplin's"})
	host.Remove(LinkKey{"", "br"})
	want := state("pick-1")
	if round := engine.Converge(ctx, desire(want, false)); round.Withheld != 2 || len(round.Conflicts) != 1 {
		t.Fatalf("got %+v", round)
	}
	host.Conflicts()
	round := engine.Converge(ctx, desire(want, true))
	if len(round.Plan) != 3 || !round.Settled() {
		t.Fatalf("got %+v", round)
	}
	for _, op := range round.Plan {
		if op.Cause != CauseConfig {
			t.Errorf("%v: cause %s", op, op.Cause)
		}
	}
	host.Remove(LinkKey{"", "br"})
	round = engine.Converge(ctx, desire(want, true))
	if len(round.Plan) != 1 || round.Plan[0].Cause != CauseDrift {
		t.Errorf("got %+v", round)
	}
}

func TestConflictLeavesTheRestAlone(t *testing.T) {
	host := NewMemory(KindLink, KindAddress)
	host.Conflicts(Conflict{Key: LinkKey{"", "br"}, What: "link br is not poplin's"}, Conflict{Key: LinkKey{"", "other"}})
	want := NewState(&Group{Name: "host", Objects: []Object{
		Link{Name: "br", Type: LinkBridge}, Address{Link: "br", Prefix: netip.MustParsePrefix("10.0.0.1/24")},
		Link{Name: "tun", Type: LinkTUN},
	}})
	round := NewEngine(host).Converge(context.Background(), desire(want, true))
	if round.Err != nil || len(round.Plan) != 1 || round.Plan[0].Object().Key() != (LinkKey{"", "tun"}) {
		t.Errorf("plan: %v, error: %v", round.Plan, round.Err)
	}
	if len(round.Conflicts) != 1 || round.Conflicts[0].What != "link br is not poplin's" {
		t.Errorf("conflicts: %v", round.Conflicts)
	}
}

func TestFailedOperationSkipsOnlyItsDependants(t *testing.T) {
	host := NewMemory(KindLink, KindAddress)
	host.Fail(LinkKey{"", "br"}, errors.New("no memory"))
	want := NewState(&Group{Name: "host", Objects: []Object{
		Link{Name: "br", Type: LinkBridge}, Address{Link: "br", Prefix: netip.MustParsePrefix("10.0.0.1/24")},
		Link{Name: "tun", Type: LinkTUN}, Address{Link: "tun", Prefix: netip.MustParsePrefix("10.0.0.0/32")},
	}})
	engine := NewEngine(host)
	round := engine.Converge(context.Background(), desire(want, true))
	var failure *OpError
	if !errors.As(round.Err, &failure) || !errors.Is(round.Err, ErrSkipped) {
		t.Fatalf("error: %v", round.Err)
	}
	seen, _ := engine.Observe(context.Background())
	if seen.State.Len() != 2 {
		t.Errorf("the tunnel and its address should be there: %v", seen.State)
	}
	host.Fail(LinkKey{"", "br"}, nil)
	if round := engine.Converge(context.Background(), desire(want, true)); !round.Settled() {
		t.Errorf("after the failure is mended: %v", round.Err)
	}
}

// brittle is a Memory in which a link takes its addresses along when it goes,
// as in the kernel.
type brittle struct{ *Memory }

func (b brittle) Apply(ctx context.Context, plan Plan, desired State) error {
	err := b.Memory.Apply(ctx, plan, desired)
	for _, op := range plan {
		if l, ok := op.Before.(Link); ok && op.Verb == Delete {
			b.Remove(AddressKey{Link: l.Name, Prefix: netip.MustParsePrefix("10.0.0.1/24")})
		}
	}
	return err
}

func TestWhatALinkTakesAlongIsNoDrift(t *testing.T) {
	host := brittle{NewMemory(KindLink, KindAddress)}
	engine := NewEngine(host)
	address := Address{Link: "br", Prefix: netip.MustParsePrefix("10.0.0.1/24")}
	state := func(kind LinkType) State {
		return NewState(&Group{Name: "host", Objects: []Object{Link{Name: "br", Type: kind}, address}})
	}
	engine.Converge(context.Background(), desire(state(LinkBridge), true))
	round := engine.Converge(context.Background(), desire(state(LinkTUN), true))
	if !round.Settled() || len(round.Plan) != 3 || round.Plan[2].Cause != CauseConfig {
		t.Errorf("%v %+v", round.Err, round.Plan)
	}
}

func TestLoopPutsBackWhatDrifts(t *testing.T) {
	host := NewMemory(KindLink)
	link := Link{Name: "br", Type: LinkBridge}
	want := NewState(&Group{Name: "host", Objects: []Object{link}})
	rounds := make(chan Round, 10)
	loop := NewLoop(NewEngine(host), func(context.Context, Observation) (Desired, error) {
		return Desired{State: want, Cause: CauseConfig, Complete: true}, nil
	}, func(r Round) { rounds <- r })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- loop.Run(ctx) }()
	next := func() Round {
		select {
		case r := <-rounds:
			return r
		case <-time.After(10 * time.Second):
			t.Fatal("no round")
			panic("unreachable")
		}
	}
	if r := next(); len(r.Plan) != 1 || r.Plan[0].Cause != CauseStart {
		t.Errorf("first round: %+v", r)
	}
	host.Remove(link.Key())
	if r := next(); len(r.Plan) != 1 || r.Plan[0].Cause != CauseDrift {
		t.Errorf("after removal: %+v", r)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func bigState(services, endpoints int) State {
	groups := make([]*Group, services)
	for i := range groups {
		vip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		g := &Group{Name: fmt.Sprintf("service default/s%05d", i)}
		g.Objects = append(g.Objects, Element{Family: IPv4, Set: SetServices, Address: vip, Protocol: TCP, Port: 80, Chain: "pick-10"})
		for slot := range endpoints {
			target := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(slot), byte(i)}), 8080)
			g.Objects = append(g.Objects, Element{Family: IPv4, Set: SetEndpoints, Address: vip, Protocol: TCP, Port: 80, Slot: uint32(slot), Target: target})
		}
		groups[i] = g
	}
	return NewState(groups...)
}

func BenchmarkDiff(b *testing.B) {
	state := bigState(10000, 10)
	groups := append([]*Group(nil), state.groups...)
	i := rand.N(len(groups))
	changed := *groups[i]
	changed.Objects = append([]Object(nil), changed.Objects[:5]...)
	groups[i] = &changed
	one := NewState(groups...)
	flat := &Group{Name: "kernel"}
	for _, o := range state.Objects() {
		flat.Objects = append(flat.Objects, o)
	}
	b.Run("one group of 10000 changed", func(b *testing.B) {
		for b.Loop() {
			Diff(state, one)
		}
	})
	b.Run("110000 objects without groups", func(b *testing.B) {
		kernel := NewState(flat)
		for b.Loop() {
			Diff(kernel, state)
		}
	})
}
