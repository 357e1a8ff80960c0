package discovery_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/goldentest"
	"github.com/poplin-net/poplin/reconciler/services"
)

// TestGolden makes the zone of the documents of each file of testdata, as its
// section "view" says things stand, and compares it with its section "zone",
// in the form of a zone file with comments for names that have no records. The
// section "questions" has lines NAME TYPE and, after "->", what is answered.
func TestGolden(t *testing.T) {
	goldentest.Run(t, "testdata/*.txtar", func(_ *testing.T, c goldentest.Case) map[string]string {
		zone := discovery.NewZone()
		zone.Update(inputOf(c))
		out := map[string]string{"zone": zone.Table().String()}
		if questions, asked := c.Section("questions"); asked {
			out["questions"] = answers(zone.Table(), questions)
		}
		return out
	})
}

// answers asks each question, and writes what comes out behind it.
func answers(table *discovery.Table, questions string) string {
	var b strings.Builder
	for line := range strings.Lines(questions) {
		question, _, _ := strings.Cut(strings.TrimSpace(line), " ->")
		name, kind, _ := strings.Cut(question, " ")
		fmt.Fprintf(&b, "%s -> %s\n", question, ask(table, name, dns.StringToType[kind]))
	}
	return b.String()
}

// ask writes the outcome of a question: the records, or why there are none
// and the zone whose SOA record says so.
func ask(table *discovery.Table, name string, kind uint16) string {
	wire := discovery.Wire(name)
	r := table.Lookup([]byte(wire), kind)
	apex := ""
	if r.Zone > 0 {
		apex = discovery.Text(wire[len(wire)-r.Zone:])
	}
	switch r.Outcome {
	case discovery.Outside:
		return "outside"
	case discovery.NoData:
		return "NODATA " + apex
	case discovery.NoName:
		return "NXDOMAIN " + apex
	}
	var out []string
	for _, rr := range records(wire, r.Set) {
		text := strings.Join(strings.Fields(rr.String())[3:], " ")
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// records lets the library read a set as part of a message.
func records(name string, set *discovery.Set) []dns.RR {
	b := []byte{0, 0, 0x80, 0, 0, 1, byte(set.Count >> 8), byte(set.Count), 0, 0, byte(set.Additional >> 8), byte(set.Additional)}
	b = append(append(b, name...), 0, 255, 0, 1)
	b = append(append(b, set.Answers...), set.Extra...)
	var m dns.Msg
	if err := m.Unpack(b); err != nil {
		panic(err)
	}
	for _, rr := range m.Extra {
		rr.Header().Name += " (additional)"
	}
	return append(m.Answer, m.Extra...)
}

// inputOf is what a golden says, resolved.
func inputOf(c goldentest.Case) discovery.Input {
	underlay := []netip.Addr{goldentest.SelfAddress()}
	resolved := services.NewResolver(c.Config).Resolve(c.View, services.Host{Node: goldentest.Self, Underlay: underlay})
	return discovery.Input{Cluster: c.Config.Cluster, Services: resolved, View: c.View, Underlay: underlay}
}
