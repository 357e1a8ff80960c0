package discovery_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/goldentest"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// TestAnySequenceOfUpdatesEndsInTheSameZone updates one zone again and again,
// and compares it each time with one made from nothing.
func TestAnySequenceOfUpdatesEndsInTheSameZone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := discovery.NewZone()
		in := discovery.Input{Cluster: cluster()}
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			in = drawInput(t, in)
			before := zone.Table()
			changed := zone.Update(in)
			again := zone.Update(in)
			scratch := discovery.NewZone()
			scratch.Update(in)
			if diff := cmp.Diff(scratch.Table().String(), zone.Table().String()); diff != "" {
				t.Fatalf("-from nothing +updated:\n%s", diff)
			}
			if a, b := scratch.Table().Names(), zone.Table().Names(); a != b {
				t.Fatalf("%d names from nothing, %d updated", a, b)
			}
			if again {
				t.Fatal("the same input changed the zone")
			}
			if before != nil && !changed && before.String() != zone.Table().String() {
				t.Fatal("the zone changed, and Update says it did not")
			}
		}
	})
}

func cluster() *schema.Cluster {
	c := &schema.Cluster{
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/15")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/20"), netip.MustParsePrefix("fd00:96::/110")},
	}
	c.DNS.Domain, c.DNS.Addresses = "cluster.local", []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	return c
}

// drawInput changes some services and nodes; the others stay as they are.
func drawInput(t *rapid.T, before discovery.Input) discovery.Input {
	in := before
	in.Services = nil
	if rapid.IntRange(0, 19).Draw(t, "settings") == 0 {
		c := *in.Cluster
		c.DNS.Domain = rapid.SampledFrom([]string{"cluster.local", "k8s.example"}).Draw(t, "domain")
		in.Cluster = &c
	}
	for _, namespace := range []string{"a", "b"} {
		for _, name := range []string{"x", "y", "z"} {
			i := slices.IndexFunc(before.Services, func(s *services.Service) bool {
				return s.Document.Name == schema.Name{Namespace: namespace, Name: name}
			})
			switch what := rapid.SampledFrom([]string{"stay", "stay", "go", "change", "endpoints"}).Draw(t, "what"); {
			case what == "stay" && i >= 0:
				in.Services = append(in.Services, before.Services[i])
			case what == "endpoints" && i >= 0:
				s := *before.Services[i]
				s.Headless = drawEndpoints(t, s.Document)
				in.Services = append(in.Services, &s)
			case what == "change":
				in.Services = append(in.Services, drawService(t, namespace, name))
			}
		}
	}
	in.View.Self = view.Self{Name: "node-1", Pods: drawPods(t)}
	in.View.Peers = nil
	for _, name := range []string{"node-2", "node-3"} {
		if rapid.Bool().Draw(t, "alive") {
			in.View.Peers = append(in.View.Peers, view.Peer{Name: name, Underlay: []netip.Addr{drawAddress(t, "192.0.2.")}, Pods: drawPods(t)})
		}
	}
	return in
}

func drawService(t *rapid.T, namespace, name string) *services.Service {
	s := &schema.Service{Type: schema.ClusterIP}
	s.Namespace, s.Name.Name = namespace, name
	for _, p := range []schema.ServicePort{{Name: "http", Protocol: schema.TCP, Port: 80}, {Protocol: schema.TCP, Port: 81}, {Name: "dns", Protocol: schema.UDP, Port: 53}} {
		if rapid.Bool().Draw(t, "port") {
			s.Ports = append(s.Ports, p)
		}
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		s.Type, s.ExternalName = schema.ExternalName, "example.com"
	case 1, 2:
		s.Headless = true
	default:
		s.ClusterIPs = []netip.Addr{drawAddress(t, "10.96.0.")}
		if rapid.Bool().Draw(t, "dual") {
			s.ClusterIPs = append(s.ClusterIPs, drawAddress(t, "fd00:96::"))
		}
	}
	return &services.Service{Document: s, Headless: drawEndpoints(t, s)}
}

func drawEndpoints(t *rapid.T, s *schema.Service) []services.HeadlessEndpoint {
	if !s.Headless {
		return nil
	}
	var out []services.HeadlessEndpoint
	for range rapid.IntRange(0, 4).Draw(t, "endpoints") {
		e := services.HeadlessEndpoint{Address: drawAddress(t, rapid.SampledFrom([]string{"10.244.1.", "10.245.1.", "203.0.113."}).Draw(t, "net")), Weight: 1}
		e.Hostname = rapid.SampledFrom([]string{"", "", "h1", "h2"}).Draw(t, "hostname")
		for _, p := range s.Ports {
			e.Ports = append(e.Ports, services.HeadlessPort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
		}
		out = append(out, e)
	}
	return out
}

func drawPods(t *rapid.T) []view.Pod {
	var out []view.Pod
	for i := range rapid.IntRange(0, 3).Draw(t, "pods") {
		p := view.Pod{Namespace: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"), Name: fmt.Sprint("p", i)}
		if rapid.Bool().Draw(t, "own") {
			p.Addresses = []netip.Addr{drawAddress(t, "10.244.1.")}
		}
		out = append(out, p)
	}
	return out
}

func drawAddress(t *rapid.T, start string) netip.Addr {
	return netip.MustParseAddr(start + fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "address")))
}

// TestLookupAgainstTheListing asks for names that exist, for those above and
// below, and for others, and compares with what a look through all records
// says: slow, and plain to see.
func TestLookupAgainstTheListing(t *testing.T) {
	for _, c := range goldentest.Load(t, "testdata/*.txtar") {
		in := inputOf(c)
		zone := discovery.NewZone()
		zone.Update(in)
		list := listing(t, zone.Table())
		names := []string{"", "local.", "example.com.", "arpa.", "svc." + in.Cluster.DNS.Domain + ".", "pod." + in.Cluster.DNS.Domain + "."}
		for _, rr := range list {
			for name := rr.Header().Name; name != ""; _, name, _ = strings.Cut(name, ".") {
				names = append(names, name, "deep."+name, "1."+name)
			}
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeMX} {
				want := oracle(list, in.Cluster, name, kind)
				got, _, _ := strings.Cut(ask(zone.Table(), name, kind), " ")
				if strings.Contains(" A AAAA SRV PTR TXT CNAME ", " "+got+" ") {
					got = "records"
				}
				if got != want {
					t.Errorf("%s: %s %s: %s, by the listing %s", c.Name, name, dns.TypeToString[kind], got, want)
				}
			}
		}
	}
}

// listing reads the zone's text.
func listing(t *testing.T, table *discovery.Table) []dns.RR {
	t.Helper()
	var out []dns.RR
	parser := dns.NewZoneParser(strings.NewReader(table.String()), "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		out = append(out, rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func oracle(list []dns.RR, c *schema.Cluster, name string, kind uint16) string {
	exists := false
	for _, rr := range list {
		owner := rr.Header().Name
		if owner == name && (rr.Header().Rrtype == kind || rr.Header().Rrtype == dns.TypeCNAME) {
			return "records"
		}
		exists = exists || owner == name || strings.HasSuffix(owner, "."+name)
	}
	domain := c.DNS.Domain + "."
	ours := name == domain || strings.HasSuffix(name, "."+domain)
	exists = exists || name == domain || name == "svc."+domain || name == "pod."+domain
	for _, p := range slices.Concat(c.ServiceCIDRs, c.PodCIDRs) {
		for _, apex := range apexes(p) {
			ours = ours || name == apex || strings.HasSuffix(name, "."+apex)
			exists = exists || name == apex
		}
	}
	switch {
	case !ours:
		return "outside"
	case exists:
		return "NODATA"
	}
	return "NXDOMAIN"
}

// apexes lists the reverse zones of a range: those of the shortest prefixes
// that end with a label.
func apexes(p netip.Prefix) []string {
	step := 8
	if p.Addr().Is6() {
		step = 4
	}
	bits := (p.Bits() + step - 1) / step * step
	var out []string
	for a := p.Masked().Addr(); p.Contains(a); a = following(a, bits) {
		full, _ := dns.ReverseAddr(a.String())
		labels := dns.SplitDomainName(full)
		out = append(out, strings.Join(labels[(a.BitLen()-bits)/step:], ".")+".")
	}
	return out
}

// following is the first address behind the prefix of this one.
func following(a netip.Addr, bits int) netip.Addr {
	b := a.AsSlice()
	add := 1 << (7 - (bits-1)%8)
	for i := (bits - 1) / 8; i >= 0 && add > 0; i-- {
		add += int(b[i])
		b[i], add = byte(add), add>>8
	}
	next, _ := netip.AddrFromSlice(b)
	return next
}

// TestReadersSeeWholeUpdates lets a service move to and fro while others
// look: its name and the name of its address must agree within one table.
func TestReadersSeeWholeUpdates(t *testing.T) {
	zone := discovery.NewZone()
	state := func(i int) discovery.Input {
		s := &schema.Service{Type: schema.ClusterIP, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(20 + i)})}}
		s.Namespace, s.Name.Name = "a", "x"
		return discovery.Input{Cluster: cluster(), Services: []*services.Service{{Document: s}}}
	}
	zone.Update(state(0))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			zone.Update(state(rand.IntN(2)))
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
		}
		table := zone.Table()
		address := strings.TrimPrefix(ask(table, "x.a.svc.cluster.local", dns.TypeA), "A ")
		back, err := dns.ReverseAddr(address)
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		if got := ask(table, back, dns.TypePTR); got != "PTR x.a.svc.cluster.local." {
			t.Fatalf("%s is %s", address, got)
		}
	}
}

// TestNamesThatAreTooLong are left out, under a domain that leaves no room.
func TestNamesThatAreTooLong(t *testing.T) {
	domain := strings.Repeat("abcdefghi.", 22) + "x" // 221 characters
	in := discovery.Input{Cluster: cluster()}
	in.Cluster.DNS.Domain = domain
	long := strings.Repeat("n", 40)
	for _, headless := range []bool{false, true} {
		for _, name := range []string{long, "short"} {
			s := &schema.Service{Type: schema.ClusterIP, Headless: headless, Ports: []schema.ServicePort{{Name: "a-long-port", Protocol: schema.TCP, Port: 80}}}
			s.Namespace, s.Name.Name = fmt.Sprint("ns-", headless), name
			r := &services.Service{Document: s}
			if headless {
				r.Headless = []services.HeadlessEndpoint{{Address: netip.MustParseAddr("10.244.1.1"), Hostname: long, Ports: []services.HeadlessPort{{Name: "a-long-port", Protocol: schema.TCP, Port: 80}}}}
			} else {
				s.ClusterIPs = []netip.Addr{netip.MustParseAddr("10.96.0.20")}
			}
			in.Services = append(in.Services, r)
		}
	}
	in.View.Self.Pods = []view.Pod{{Namespace: long, Name: "p", Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.1")}}}
	zone := discovery.NewZone()
	zone.Update(in)
	for _, rr := range listing(t, zone.Table()) {
		if len(rr.Header().Name) > 254 {
			t.Errorf("%s", rr)
		}
	}
	if got := ask(zone.Table(), "short.ns-true.svc."+domain, dns.TypeA); got != "A 10.244.1.1" {
		t.Error(got)
	}
	in.Services = nil
	zone.Update(in)
	if n := zone.Table().Names(); n != 2 { // of the zone itself
		t.Errorf("%d names are left", n)
	}
}
