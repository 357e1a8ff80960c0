package reconciler

import (
	"context"
	"net/netip"
	"testing"
)

// A frontend may go from one set to another. Which of them is asked first must
// not matter: where its packets go stays as it is.
func TestNothingIsRedirectedBeforeDesiredIsComplete(t *testing.T) {
	frontend := func(set SetName, first, last uint16, chain string) Element {
		return Element{Family: IPv4, Set: set, Address: netip.MustParseAddr("10.96.0.1"), Protocol: TCP, Port: first, LastPort: last, Chain: chain}
	}
	elsewhere := frontend(SetServices, 80, 0, "refuse")
	elsewhere.Address = netip.MustParseAddr("10.96.0.2")
	for name, c := range map[string]struct {
		before, after Element
		redirects     bool
	}{
		"loses its endpoints":        {frontend(SetSpecialServices, 80, 0, "sticky-10800-8-3"), frontend(SetServices, 80, 0, "refuse"), true},
		"gets endpoints":             {frontend(SetServices, 80, 0, "refuse"), frontend(SetSpecialServices, 80, 0, "hash-1021"), false},
		"a port of a range":          {frontend(SetPortRanges, 8000, 8999, "range-2"), frontend(SetServices, 8999, 0, "refuse"), true},
		"a special port of a range":  {frontend(SetPortRanges, 8000, 8999, "range-2"), frontend(SetSpecialServices, 8000, 0, "hash-1021"), true},
		"a port behind a range":      {frontend(SetPortRanges, 8000, 8999, "range-2"), frontend(SetServices, 9000, 0, "refuse"), false},
		"a longer range":             {frontend(SetPortRanges, 8000, 8999, "range-2"), frontend(SetPortRanges, 7000, 8000, "range-2"), true},
		"a port that others may use": {frontend(SetSpecialServices, 80, 0, "external"), frontend(SetServices, 81, 0, "refuse"), false},
		"another address":            {frontend(SetSpecialServices, 80, 0, "external"), elsewhere, false},
	} {
		t.Run(name, func(t *testing.T) {
			host := NewMemory(KindElement)
			host.Put(c.before)
			engine := NewEngine(host)
			want := NewState(&Group{Name: "service", Objects: []Object{c.after}})
			round := engine.Converge(context.Background(), desire(want, false))
			if round.Err != nil || round.Withheld == 0 || c.redirects != (len(round.Plan) == 0) {
				t.Errorf("before desired is complete: %d withheld, %v, and done: %v", round.Withheld, round.Err, round.Plan)
			}
			if round = engine.Converge(context.Background(), desire(want, true)); !round.Settled() {
				t.Errorf("then: %+v", round)
			}
		})
	}
}
