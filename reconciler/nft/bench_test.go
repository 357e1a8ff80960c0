package nft

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
)

// many makes a state of services with some endpoints each.
func many(services, endpoints int) reconciler.State {
	var list []service
	for i := range services {
		s := service{name: fmt.Sprint(i), protocol: reconciler.TCP, port: 80, address: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}
		for k := range endpoints {
			s.targets = append(s.targets, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(k), byte(i)}), uint16(8000+i)))
		}
		list = append(list, s)
	}
	return state(host(nil), list...)
}

// replaced gives the state with one endpoint of the first service replaced.
func replaced(s reconciler.State, to string) reconciler.State {
	var groups []*reconciler.Group
	for g := range s.Groups() {
		if g.Name == "service 0" {
			next := &reconciler.Group{Name: g.Name, Objects: append([]reconciler.Object{}, g.Objects...)}
			i := slices.IndexFunc(next.Objects, func(o reconciler.Object) bool { return o.(reconciler.Element).Set == reconciler.SetEndpoints })
			e := next.Objects[i].(reconciler.Element)
			e.Target = netip.MustParseAddrPort(to)
			next.Objects[i] = e
			g = next
		}
		groups = append(groups, g)
	}
	return reconciler.NewState(groups...)
}

func BenchmarkLoad1000x10(b *testing.B) {
	want := many(1000, 10)
	plan := reconciler.Diff(reconciler.State{}, want)
	for b.Loop() {
		b.StopTimer()
		n := newNetns(b)
		x := target(b, n)
		observe(b, x)
		b.StartTimer()
		if err := x.Apply(context.Background(), plan, want); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplaceEndpointOf1000x10 has the target running, as in the daemon:
// the search for stale connections is beside the commit.
func BenchmarkReplaceEndpointOf1000x10(b *testing.B) {
	x := target(b, newNetns(b))
	run(b, x)
	states := []reconciler.State{many(1000, 10)}
	states = append(states, replaced(states[0], "10.244.99.1:80"))
	reach(b, x, states[0])
	i := 0
	for b.Loop() {
		i++
		reach(b, x, states[i%2])
	}
}

func BenchmarkReadBack1000x10(b *testing.B) {
	x := target(b, newNetns(b))
	reach(b, x, many(1000, 10))
	for b.Loop() {
		x.monitor.forget()
		observe(b, x)
	}
}

func BenchmarkLoad10000x10(b *testing.B) {
	want := many(10000, 10)
	plan := reconciler.Diff(reconciler.State{}, want)
	for b.Loop() {
		b.StopTimer()
		x := target(b, newNetns(b))
		observe(b, x)
		b.StartTimer()
		if err := x.Apply(context.Background(), plan, want); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadBack10000x10(b *testing.B) {
	x := target(b, newNetns(b))
	reach(b, x, many(10000, 10))
	for b.Loop() {
		x.monitor.forget()
		observe(b, x)
	}
}

func BenchmarkCountersOf10000(b *testing.B) {
	x := target(b, newNetns(b))
	reach(b, x, many(10000, 1))
	for b.Loop() {
		all, err := x.Counters(context.Background())
		if err != nil || len(all) != 20000 {
			b.Fatal(len(all), err)
		}
	}
}

// grown gives the state with one endpoint more of the first service.
func grown(s reconciler.State, chainThere bool) (before, after reconciler.State) {
	eleven := reconciler.Chain{Family: reconciler.IPv4, Slots: 11}
	var one, two []*reconciler.Group
	for g := range s.Groups() {
		a, b := g, g
		if g.Name == "service 0" {
			b = &reconciler.Group{Name: g.Name, Objects: append([]reconciler.Object{}, g.Objects...)}
			var e reconciler.Element
			for i, o := range b.Objects {
				switch x := o.(reconciler.Element); x.Set {
				case reconciler.SetServices:
					x.Chain = eleven.Name()
					b.Objects[i] = x
				case reconciler.SetEndpoints:
					e = x
				}
			}
			e.Slot, e.Target = 10, netip.MustParseAddrPort("10.244.77.1:80")
			b.Objects = append(b.Objects, e)
		}
		one, two = append(one, a), append(two, b)
	}
	x := &reconciler.Group{Name: "chain eleven", Objects: []reconciler.Object{eleven,
		reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetPicks, Slot: 11, Chain: eleven.Name()}}}
	two = append(two, x)
	if chainThere {
		one = append(one, x)
	}
	return reconciler.NewState(one...), reconciler.NewState(two...)
}

// BenchmarkAddEndpointOf10000x10 shows why compile asks for chains before they
// are needed.
func BenchmarkAddEndpointOf10000x10(b *testing.B) {
	for _, there := range []bool{false, true} {
		b.Run(map[bool]string{true: "chain there", false: "chain new"}[there], func(b *testing.B) {
			x := target(b, newNetns(b))
			run(b, x)
			before, after := grown(many(10000, 10), there)
			reach(b, x, before)
			states := []reconciler.State{before, after}
			i := 0
			for b.Loop() {
				i++
				step(b, x, states[(i+1)%2], states[i%2])
			}
		})
	}
}

func BenchmarkAddServiceTo10000x10(b *testing.B) {
	x := target(b, newNetns(b))
	run(b, x)
	all := many(10000, 10)
	var groups []*reconciler.Group
	for g := range all.Groups() {
		if g.Name != "service 5" {
			groups = append(groups, g)
		}
	}
	reach(b, x, all)
	states := []reconciler.State{all, reconciler.NewState(groups...)}
	i := 0
	for b.Loop() {
		i++
		step(b, x, states[(i+1)%2], states[i%2])
	}
}

// step goes from one state to the next as a round does.
func step(b *testing.B, x *Target, before, after reconciler.State) {
	plan := reconciler.Attribute(reconciler.Diff(observe(b, x).State, after), before, after, reconciler.CauseConfig, false)
	if err := x.Apply(context.Background(), plan, after); err != nil {
		b.Fatal(err)
	}
}

// run has the target running until the benchmark ends.
func run(b *testing.B, x *Target) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}
