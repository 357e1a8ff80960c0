package services

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler/goldentest"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// TestExplain explains the services of every file of testdata that has a
// section "explain": a line for each candidate with its shares and why.
func TestExplain(t *testing.T) {
	tested := 0
	goldentest.Run(t, "testdata/*.txtar", func(_ *testing.T, c goldentest.Case) map[string]string {
		if _, asked := c.Section("explain"); !asked {
			return nil
		}
		tested++
		r := NewResolver(c.Config)
		reasons := Reasons{{Namespace: "default", Name: "sick"}: "GET http://10.244.1.9/: 503"}
		var b strings.Builder
		for _, s := range c.Config.Services {
			fmt.Fprintln(&b, s.Meta.Name)
			for _, e := range r.Explain(s, c.View, selfHost(), reasons) {
				b.WriteString(explanationText(e))
			}
			for _, near := range r.NearMisses(s, 2) {
				fmt.Fprintf(&b, "  not selected: %s %s: %s\n", near.Pod, near.Place, near.Reason)
			}
		}
		return map[string]string{"explain": b.String()}
	})
	if tested == 0 {
		t.Error("no file has such a section")
	}
}

func explanationText(e Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %d/%s %s, %d frontends\n", e.Port.Port, e.Port.Protocol, e.Family, len(e.Frontends))
	for _, c := range e.Candidates {
		name := c.Pod
		if name == (schema.Name{}) {
			name = c.Slice
		}
		to := "-"
		if c.To.IsValid() {
			to = c.To.String()
		}
		fmt.Fprintf(&b, "    %d of %d", c.Slots, e.Slots)
		if e.LocalSlots > 0 {
			fmt.Fprintf(&b, ", %d of %d here", c.LocalSlots, e.LocalSlots)
		}
		fmt.Fprintf(&b, ": %s %s %s: %s\n", name, to, c.Place, c.Reason)
	}
	return b.String()
}

// Who is said to be in is who takes connections.
func TestExplainAgreesWithResolve(t *testing.T) {
	for _, c := range goldentest.Load(t, "testdata/*.txtar") {
		r := NewResolver(c.Config)
		for _, s := range r.Resolve(c.View, selfHost()) {
			var frontends []Frontend
			for _, e := range r.Explain(s.Document, c.View, selfHost(), nil) {
				in := map[netip.AddrPort]bool{}
				for _, candidate := range e.Candidates {
					if candidate.Slots+candidate.LocalSlots > 0 {
						in[candidate.To] = true
					}
				}
				takes := map[netip.AddrPort]bool{}
				for _, f := range e.Frontends {
					frontends = append(frontends, f)
					for _, endpoint := range slices.Concat(f.Endpoints, f.Local) {
						takes[endpoint.Target] = true
					}
				}
				if len(e.Frontends) > 0 && fmt.Sprint(in) != fmt.Sprint(takes) {
					t.Errorf("%s, %s %d: %v are in, but %v take connections", c.Name, s.Document.Meta.Name, e.Port.Port, in, takes)
				}
			}
			if len(frontends) != len(s.Frontends) {
				t.Errorf("%s, %s: %d frontends, not %d", c.Name, s.Document.Meta.Name, len(frontends), len(s.Frontends))
			}
		}
	}
}

// An endpoint for which there is no slot left is not said to take connections.
func TestExplainTooManyEndpoints(t *testing.T) {
	name := schema.Name{Namespace: "default", Name: "web"}
	s := &schema.Service{Meta: schema.Meta{Name: name}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.20")}, Ports: []schema.ServicePort{{Port: 80}}}
	slice := &schema.EndpointSlice{Meta: schema.Meta{Name: name}, Service: "web", Family: schema.IPv4, Weight: 1, Ports: []schema.SlicePort{{Port: 80}}}
	for _, e := range odd(MaxSlots+1, 1) {
		slice.Endpoints = append(slice.Endpoints, schema.SliceEndpoint{Address: e.Target.Addr(), Ready: true, Serving: true})
	}
	r := NewResolver(&schema.Config{Services: []*schema.Service{s}, Slices: []*schema.EndpointSlice{slice}})
	all := r.Explain(s, view.View{}, selfHost(), nil)[0].Candidates
	for at, want := range map[int]string{0: "1 ready", MaxSlots: "0 ready, but there are too many: 65535 get connections"} {
		if got := fmt.Sprint(all[at].Slots, " ", all[at].Reason); got != want {
			t.Errorf("endpoint %d has %s, not %s", at, got, want)
		}
	}
}
