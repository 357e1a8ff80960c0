package nft

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/poplin-net/poplin/reconciler"
)

func drawFamily(t *rapid.T) reconciler.Family {
	return rapid.SampledFrom(families()).Draw(t, "family")
}

func drawAddress(t *rapid.T, f reconciler.Family) netip.Addr {
	n := addressLength(f)
	for {
		a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
		if !a.Is4In6() {
			return a
		}
	}
}

func drawPrefix(t *rapid.T, f reconciler.Family) netip.Prefix {
	a := drawAddress(t, f)
	if rapid.Bool().Draw(t, "high") { // the end of the range of addresses is special
		b := a.AsSlice()
		for i := range b {
			b[i] = 255
		}
		a, _ = netip.AddrFromSlice(b)
	}
	return netip.PrefixFrom(a, rapid.IntRange(0, 8*addressLength(f)).Draw(t, "bits")).Masked()
}

// drawElement draws an element that the layout can hold.
func drawElement(t *rapid.T, f reconciler.Family, l layout) reconciler.Element {
	e := reconciler.Element{Family: f, Set: l.name}
	for _, p := range append(slices.Clone(l.key), l.value...) {
		switch p {
		case fieldAddress:
			e.Address = drawAddress(t, f)
		case fieldPrefix:
			e.Prefix = drawPrefix(t, f)
		case fieldProtocol:
			e.Protocol = rapid.SampledFrom([]reconciler.Protocol{reconciler.TCP, reconciler.UDP, reconciler.SCTP}).Draw(t, "protocol")
		case fieldPort:
			e.Port = rapid.Uint16().Draw(t, "port")
		case fieldLink:
			e.Link = rapid.StringMatching(`[a-z0-9.-]{1,15}`).Draw(t, "link")
		case fieldSlot, fieldNumber:
			e.Slot = rapid.Uint32().Draw(t, "slot")
		case fieldPortRange:
			e.Port = rapid.Uint16().Draw(t, "port")
			e.LastPort = rapid.Uint16Range(max(e.Port, 1), 65535).Draw(t, "last port")
		case fieldTargetAddress:
			e.Target = netip.AddrPortFrom(drawAddress(t, f), 0)
		case fieldTargetPort:
			e.Target = netip.AddrPortFrom(e.Target.Addr(), rapid.Uint16().Draw(t, "port"))
		case fieldNumbered:
			e.Chain = rapid.SampledFrom([]string{"pick-1", "pick-1021", reconciler.ChainRefuse}).Draw(t, "chain")
		case fieldChain:
			e.Chain = rapid.SampledFrom([]string{"pick-1", "pick-1021", "node-port-pick-7", reconciler.ChainRefuse}).Draw(t, "chain")
		}
	}
	return e
}

func TestCodecGivesBackEveryElementOfEverySet(t *testing.T) {
	for _, l := range layouts() {
		if l.dynamic {
			continue // see TestSessionAffinity
		}
		t.Run(string(l.name), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				f := drawFamily(t)
				e := drawElement(t, f, l)
				if err := l.check(e); err != nil {
					t.Fatalf("%s: %v", e, err)
				}
				if l.interval() {
					return // see TestPrefixes
				}
				key, value := encode(l.key, e), encode(l.value, e)
				set, err := l.set(table(f), f)
				if err != nil {
					t.Fatal(err)
				}
				if len(key) != int(set.KeyType.Bytes) || len(value) != int(set.DataType.Bytes) {
					t.Fatalf("%s: %d and %d bytes do not fit the set", e, len(key), len(value))
				}
				got := reconciler.Element{Family: f, Set: l.name, Chain: e.Chain}
				if err := decode(l.key, key, &got); err != nil {
					t.Fatal(err)
				}
				if err := decode(l.value, value, &got); err != nil {
					t.Fatal(err)
				}
				if l.ranged() {
					if err := decodeEnd(l.key, encodeEnd(l.key, e), &got); err != nil {
						t.Fatal(err)
					}
				}
				if got != e {
					t.Fatalf("%s became %s", e, got)
				}
			})
		})
	}
}

func TestCheckRefusesWhatWouldComeBackDifferent(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	service := reconciler.Element{Family: reconciler.IPv4, Set: reconciler.SetServices, Address: v4, Protocol: reconciler.TCP, Port: 80, Chain: "pick-1"}
	there := map[reconciler.Chain]bool{{Family: reconciler.IPv4, Slots: 1}: true}
	change := func(f func(*reconciler.Element)) reconciler.Element {
		e := service
		f(&e)
		return e
	}
	for name, e := range map[string]reconciler.Element{
		"no family":          change(func(e *reconciler.Element) { e.Family = "" }),
		"unknown set":        change(func(e *reconciler.Element) { e.Set = "servces" }),
		"other family":       change(func(e *reconciler.Element) { e.Address = v6 }),
		"mapped address":     change(func(e *reconciler.Element) { e.Address = netip.AddrFrom16(v4.As16()) }),
		"no address":         change(func(e *reconciler.Element) { e.Address = netip.Addr{} }),
		"no protocol":        change(func(e *reconciler.Element) { e.Protocol = 0 }),
		"field too many":     change(func(e *reconciler.Element) { e.Slot = 1 }),
		"no chain":           change(func(e *reconciler.Element) { e.Chain = "" }),
		"unknown chain":      change(func(e *reconciler.Element) { e.Chain = "postrouting" }),
		"missing chain":      change(func(e *reconciler.Element) { e.Chain = "pick-2" }),
		"other spelling":     change(func(e *reconciler.Element) { e.Chain = "pick-01" }),
		"no number":          change(func(e *reconciler.Element) { e.Chain = reconciler.ChainDiscard }),
		"zone":               {Family: reconciler.IPv6, Set: reconciler.SetHairpin, Address: v6.WithZone("eth0")},
		"bits behind prefix": {Family: reconciler.IPv4, Set: reconciler.SetPodRanges, Prefix: netip.MustParsePrefix("10.0.0.1/8")},
	} {
		if err := check(reconciler.Plan{{Verb: reconciler.Add, After: e}}, there); err == nil {
			t.Errorf("%s: %s was accepted", name, e)
		}
	}
	if err := check(reconciler.Plan{{Verb: reconciler.Add, After: service}}, there); err != nil {
		t.Error(err)
	}
}

func TestPrefixesAreReadBackFromTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFamily(t)
		var list []reconciler.Element
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			list = append(list, reconciler.Element{Family: f, Set: reconciler.SetPodRanges, Prefix: drawPrefix(t, f)})
		}
		var want []netip.Prefix
		var raw []bound
		for _, e := range outermost(list) {
			want = append(want, e.Prefix)
			for _, b := range bounds(e.Prefix) {
				raw = append(raw, bound{b.Key, b.IntervalEnd})
			}
		}
		got, err := prefixes(rapid.Permutation(raw).Draw(t, "order"))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%v became %v, %v", want, got, err)
		}
	})
}

func TestOutermostLeavesOutExactlyWhatIsCovered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []reconciler.Element
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			list = append(list, reconciler.Element{Family: reconciler.IPv4, Prefix: drawPrefix(t, reconciler.IPv4)})
		}
		got := outermost(list)
		for _, e := range list {
			covers := 0
			for _, o := range got {
				if o.Prefix.Overlaps(e.Prefix) && o.Prefix.Bits() <= e.Prefix.Bits() {
					covers++
				}
			}
			if covers != 1 {
				t.Fatalf("%s is covered %d times by %v", e.Prefix, covers, got)
			}
		}
	})
}

func TestForeignRangesAreNoPrefixes(t *testing.T) {
	at := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	for name, raw := range map[string][]bound{
		"not aligned": {{at("10.0.0.1"), false}, {at("10.0.0.3"), true}},
		"odd length":  {{at("10.0.0.0"), false}, {at("10.0.0.3"), true}},
		"no end":      {{at("10.0.0.0"), false}, {at("10.0.1.0"), false}, {at("10.0.2.0"), true}},
	} {
		if got, err := prefixes(raw); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestPickChainNames(t *testing.T) {
	for _, c := range []reconciler.Chain{{Family: reconciler.IPv4, Slots: 1}, {Family: reconciler.IPv6, Slots: 1021, NodePort: true}} {
		if got, ok := pickChain(c.Family, c.Name()); !ok || got != c {
			t.Errorf("%s is read as %v, %v", c.Name(), got, ok)
		}
	}
	for _, name := range []string{"pick-", "pick-0", "pick-+1", "pick--1", "pick-01", "node-port-", "refuse", "pick-1x"} {
		if _, ok := pickChain(reconciler.IPv4, name); ok {
			t.Errorf("%s passes for a pick chain", name)
		}
	}
}
