package nft

import (
	"context"
	"net/netip"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
)

func TestSmoke(t *testing.T) {
	n := newNetns(t)
	x, err := New(Options{NetNS: n.fd})
	if err != nil {
		t.Fatal(err)
	}
	var objects []reconciler.Object
	p := netip.MustParsePrefix
	a := netip.MustParseAddr
	for i, f := range families() {
		addr := []string{"10.96.0.10", "fd96::10"}[i]
		to := []string{"10.244.1.5:8080", "[fd24::5]:8080"}[i]
		pre := []string{"10.96.0.0/16", "fd96::/64"}[i]
		last := []string{"224.0.0.0/4", "ff00::/8"}[i]
		full := []string{"255.255.255.255/32", "::/0"}[i]
		objects = append(objects, markedTable(f),
			reconciler.Chain{Family: f, Slots: 2}, reconciler.Chain{Family: f, Slots: 1, NodePort: true},
			reconciler.Element{Family: f, Set: reconciler.SetServices, Address: a(addr), Protocol: 6, Port: 80, Chain: "pick-2"},
			reconciler.Element{Family: f, Set: reconciler.SetServices, Address: a(addr), Protocol: 17, Port: 53, Chain: "refuse"},
			reconciler.Element{Family: f, Set: reconciler.SetEndpoints, Address: a(addr), Protocol: 6, Port: 80, Slot: 0, Target: netip.MustParseAddrPort(to)},
			reconciler.Element{Family: f, Set: reconciler.SetEndpoints, Address: a(addr), Protocol: 6, Port: 80, Slot: 1, Target: netip.MustParseAddrPort(to)},
			reconciler.Element{Family: f, Set: reconciler.SetNodePorts, Protocol: 6, Port: 30080, Chain: "node-port-pick-1"},
			reconciler.Element{Family: f, Set: reconciler.SetNodePortEndpoints, Protocol: 6, Port: 30080, Slot: 0, Target: netip.MustParseAddrPort(to)},
			reconciler.Element{Family: f, Set: reconciler.SetServiceRanges, Prefix: p(pre)},
			reconciler.Element{Family: f, Set: reconciler.SetMasqueradeExclude, Prefix: p(last)},
			reconciler.Element{Family: f, Set: reconciler.SetMasqueradeSubnets, Prefix: p(full)},
			reconciler.Element{Family: f, Set: reconciler.SetHairpin, Address: a(addr)},
			reconciler.Element{Family: f, Set: reconciler.SetClusterAddresses, Address: a(addr)},
			reconciler.Element{Family: f, Set: reconciler.SetMasqueradeNodePorts, Protocol: 6, Port: 30080},
		)
	}
	want := reconciler.NewState(&reconciler.Group{Name: "a", Objects: objects})
	ctx := context.Background()
	o, err := x.Observe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Apply(ctx, reconciler.Diff(o.State, want), want); err != nil {
		t.Fatal(err)
	}
	t.Log(n.run("nft list ruleset"))
	n.run("nft -j list ruleset | jq . >/dev/null")
	o, err = x.Observe(ctx)
	t.Log(o, err)
	x.monitor.forget()
	o, err = x.Observe(ctx)
	t.Log(o, err)
	for _, op := range reconciler.Diff(o.State, want) {
		t.Error(op)
	}
}
