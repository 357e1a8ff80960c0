package nft

import (
	"context"
	"fmt"
	"net/netip"
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
			e := next.Objects[1].(reconciler.Element)
			e.Target = netip.MustParseAddrPort(to)
			next.Objects[1] = e
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
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
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
