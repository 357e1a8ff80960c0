package schema

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestCapacity compares with counting the addresses one by one.
func TestCapacity(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		p := netip.MustParsePrefix("10.1.2.0/27")
		if random.IntN(2) == 0 {
			p = netip.MustParsePrefix("fd00::/123")
		}
		s := &Subnet{CIDRs: []netip.Prefix{p}, Gateways: []netip.Addr{addrAt(p, 1+uint64(random.IntN(30)))}}
		for range random.IntN(4) {
			first := uint64(random.IntN(32))
			last := first + uint64(random.IntN(32-int(first)))
			s.Reserved = append(s.Reserved, AddrRange{addrAt(p, first), addrAt(p, last)})
		}
		want := uint64(0)
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			if usable(p, a) && a != s.Gateways[0] && !slices.ContainsFunc(s.Reserved, func(r AddrRange) bool { return r.Contains(a) }) {
				want++
			}
		}
		if got := capacity(s); got != want {
			t.Fatalf("%+v: capacity %d, counted %d", s, got, want)
		}
	}
}

// TestAutomatic: automatic addresses and ports are usable, never those of
// DNS, and every one is somebody's.
func TestAutomatic(t *testing.T) {
	for _, text := range []string{"10.96.0.0/28", "10.0.0.0/8", "fd00::/124", "fd00::/64", "fd00::/112"} {
		p := netip.MustParsePrefix(text)
		dns := []netip.Addr{addrAt(p, 10), addrAt(p, 3)}
		pool := newAddressPool(p, dns)
		seen := map[netip.Addr]bool{}
		for i := range 2000 {
			a := pool.address(Name{"default", itoa(i)}, 0)
			if !usable(p, a) || slices.Contains(dns, a) {
				t.Fatalf("%s: %s", p, a)
			}
			seen[a] = true
		}
		if want := min(pool.count, 1900); uint64(len(seen)) < want {
			t.Errorf("%s: %d different addresses", p, len(seen))
		}
	}
	r := PortRange{30000, 32767}
	seen := map[uint16]bool{}
	for i := range 20000 {
		port := automaticNodePort(Name{"default", itoa(i)}, ServicePort{}, r, 0)
		if port < 31384 || port > 32767 {
			t.Fatal(port)
		}
		seen[port] = true
	}
	if len(seen) != 1384 {
		t.Errorf("%d different node ports", len(seen))
	}
	for last := uint16(1); last < 6; last++ {
		half := upperHalf(PortRange{1, last})
		if half.First > half.Last || half.Last != last {
			t.Errorf("1-%d: %v", last, half)
		}
	}
}

// TestAutomaticStays: these numbers are part of the format. A change would
// move the addresses of running services.
func TestAutomaticStays(t *testing.T) {
	pool := newAddressPool(netip.MustParsePrefix("10.96.0.0/16"), []netip.Addr{netip.MustParseAddr("10.96.0.10")})
	name := Name{"default", "web"}
	if got := pool.address(name, 0).String(); got != "10.96.219.156" {
		t.Errorf("cluster IP %s", got)
	}
	if got := automaticNodePort(name, ServicePort{Name: "http"}, PortRange{30000, 32767}, 0); got != 32367 {
		t.Errorf("node port %d", got)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"protocol", "port", "name", "nodePort", "targetPort"}
	for word, want := range map[string]string{
		"protcol": "protocol", "nodeport": "nodePort", "prot": "port", "x": "", "anme": "name", "replicas": "", "TargetPort": "targetPort",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

func TestPointer(t *testing.T) {
	nodes, errs := readYAML([]byte("a:\n  b/c.d: [1, {e: 2}]\n"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	p := pointer("").field("a", "b/c.d").item(1).field("e")
	if got := nodes[0].at(p); got == nil || got.text != "2" {
		t.Errorf("%s: %+v", p, got)
	}
	if got, want := p.path(nodes[0]), `a["b/c.d"][1].e`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := nodes[0].find(p.field("f")); got != (position{2, 18, 1}) {
		t.Errorf("%+v", got)
	}
}
