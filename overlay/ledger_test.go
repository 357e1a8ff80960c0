package overlay

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawLedger makes ledgers whose entries clash often.
func drawLedger(t *rapid.T, label string) *ledger {
	l := newLedger()
	for range rapid.IntRange(0, 6).Draw(t, label+" entries") {
		e := Entry{
			Node: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "node"), ID: rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id"),
			Birth: Stamp(rapid.IntRange(1, 3).Draw(t, "birth")), Generation: uint64(rapid.IntRange(1, 2).Draw(t, "generation")),
			Version: uint64(rapid.IntRange(1, 3).Draw(t, "version")), Boot: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "boot"),
		}
		for range rapid.IntRange(0, 2).Draw(t, "claims") {
			third := rapid.IntRange(0, 3).Draw(t, "subnet")
			bits := rapid.SampledFrom([]int{23, 24}).Draw(t, "bits")
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(third), 0}), bits).Masked()
			e.Claims = append(e.Claims, Claim{Prefix: p, Epoch: Stamp(rapid.IntRange(1, 3).Draw(t, "epoch"))})
		}
		if rapid.Bool().Draw(t, "replaces") {
			e.Replaces = []string{rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "replaced")}
		}
		l.put(e)
	}
	for range rapid.IntRange(0, 2).Draw(t, label+" tombstones") {
		l.bury(Tombstone{rapid.SampledFrom([]string{"a", "b", "10.244.0.0/24"}).Draw(t, "what"), Stamp(rapid.IntRange(1, 3).Draw(t, "clock"))})
	}
	return l
}

func merged(all ...*ledger) *ledger {
	out := newLedger()
	for _, l := range all {
		out.merge(l)
	}
	return out
}

func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawLedger(t, "a"), drawLedger(t, "b"), drawLedger(t, "c")
		same := func(law string, x, y *ledger) {
			if d := cmp.Diff(slices.Collect(maps.Values(x.entries)), slices.Collect(maps.Values(y.entries)), ledgerOptions()...); d != "" {
				t.Fatalf("%s: entries differ: %s", law, d)
			}
			if !maps.Equal(x.tombs, y.tombs) || x.digest() != y.digest() || !slices.Equal(x.owners(nil, byEpoch), y.owners(nil, byEpoch)) {
				t.Fatalf("%s: %v, %v", law, x.owners(nil, byEpoch), y.owners(nil, byEpoch))
			}
		}
		same("commutative", merged(a, b), merged(b, a))
		same("associative", merged(merged(a, b), c), merged(a, merged(b, c)))
		same("idempotent", merged(a, a), a)
		if again := merged(a, b); again.merge(a) || again.merge(b) {
			t.Fatal("merging what is known changed something")
		}
	})
}

func ledgerOptions() []cmp.Option {
	return []cmp.Option{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Transformer("sorted", func(all []Entry) map[string]Entry {
			out := map[string]Entry{}
			for _, e := range all {
				out[e.Node+"/"+e.ID] = e
			}
			return out
		}),
	}
}

// What resolution promises, case by case.
func TestOwners(t *testing.T) {
	prefix := netip.MustParsePrefix
	entry := func(node, id string, birth Stamp, replaces string, claims ...Claim) Entry {
		e := Entry{Node: node, ID: id, Birth: birth, Generation: 1, Version: 1, Claims: claims}
		if replaces != "" {
			e.Replaces = []string{replaces}
		}
		return e
	}
	claim := func(p string, epoch Stamp) Claim { return Claim{Prefix: prefix(p), Epoch: epoch} }
	for name, test := range map[string]struct {
		entries []Entry
		tombs   []Tombstone
		pinned  []netip.Prefix
		want    []Owner
	}{
		"the earlier epoch wins": {
			entries: []Entry{entry("a", "1", 1, "", claim("10.0.1.0/24", 7)), entry("b", "2", 1, "", claim("10.0.1.0/24", 6))},
			want:    []Owner{{prefix("10.0.1.0/24"), "b"}},
		},
		"among equals the ID wins": {
			entries: []Entry{entry("a", "2", 1, "", claim("10.0.1.0/24", 6)), entry("b", "1", 1, "", claim("10.0.1.0/24", 6))},
			want:    []Owner{{prefix("10.0.1.0/24"), "b"}},
		},
		"lengths may differ": {
			entries: []Entry{entry("a", "1", 1, "", claim("10.0.0.0/23", 5)), entry("b", "2", 1, "", claim("10.0.1.0/24", 6)), entry("c", "3", 1, "", claim("10.0.2.0/24", 7))},
			want:    []Owner{{prefix("10.0.0.0/23"), "a"}, {prefix("10.0.2.0/24"), "c"}},
		},
		"families are apart": {
			entries: []Entry{entry("a", "1", 1, "", claim("10.0.1.0/24", 5), claim("fd00:0:0:1::/64", 5)), entry("b", "2", 1, "", claim("fd00:0:0:1::/64", 4))},
			want:    []Owner{{prefix("10.0.1.0/24"), "a"}, {prefix("fd00:0:0:1::/64"), "b"}},
		},
		"pinned subnets void claims": {
			entries: []Entry{entry("a", "1", 1, "", claim("10.0.1.0/24", 5))},
			pinned:  []netip.Prefix{prefix("10.0.1.128/25")},
		},
		"a tombstone voids what is older": {
			entries: []Entry{entry("a", "1", 1, "", claim("10.0.1.0/24", 5), claim("10.0.2.0/24", 9)), entry("b", "2", 1, "", claim("10.0.3.0/24", 5))},
			tombs:   []Tombstone{{"a", 7}, {"10.0.3.0/24", 5}},
			want:    []Owner{{prefix("10.0.2.0/24"), "a"}},
		},
		"a successor voids its predecessor": {
			entries: []Entry{entry("a", "1", 1, "", claim("10.0.1.0/24", 5)), entry("a", "2", 2, "1", claim("10.0.9.0/24", 6))},
			want:    []Owner{{prefix("10.0.9.0/24"), "a"}},
		},
		"but not one that is younger": {
			entries: []Entry{entry("a", "1", 3, "", claim("10.0.1.0/24", 5)), entry("a", "2", 2, "1", claim("10.0.1.0/24", 6))},
			want:    []Owner{{prefix("10.0.1.0/24"), "a"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			for _, e := range test.entries {
				l.put(e)
			}
			for _, tomb := range test.tombs {
				l.bury(tomb)
			}
			if got := l.owners(test.pinned, byEpoch); !slices.Equal(got, test.want) {
				t.Errorf("owners %v, want %v", got, test.want)
			}
		})
	}
}

func TestSubnets(t *testing.T) {
	for _, test := range []struct {
		cidr   string
		length int
		n      uint64
		want   string
	}{
		{"10.244.0.0/16", 24, 255, "10.244.255.0/24"},
		{"10.0.0.0/8", 24, 65535, "10.255.255.0/24"},
		{"10.244.7.0/24", 24, 0, "10.244.7.0/24"},
		{"fd00:244::/48", 64, 65535, "fd00:244:0:ffff::/64"},
		{"fd00::/32", 64, 1 << 31, "fd00:0:8000::/64"},
		{"fd00:1:2:3::/64", 112, 1 << 20, "fd00:1:2:3:0:10::/112"},
		{"fd00:1:2::/48", 80, 1 << 31, "fd00:1:2:8000::/80"},
	} {
		if got := subnet(netip.MustParsePrefix(test.cidr), test.length, test.n); got.String() != test.want {
			t.Errorf("subnet %d of length %d in %s is %s, want %s", test.n, test.length, test.cidr, got, test.want)
		}
	}
}

// Every subnet of a range is found, none twice, and a full range is said so.
func TestChooseUsesUpTheRange(t *testing.T) {
	s := Settings{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/23"), netip.MustParsePrefix("10.2.0.0/24")}, SubnetLengthIPv4: 26}
	var taken bart.Lite
	for i := range 12 {
		got := choose("id", s, []int{4}, &taken)
		if len(got) != 1 || taken.OverlapsPrefix(got[0]) {
			t.Fatalf("choice %d is %v", i, got)
		}
		if first := netip.MustParsePrefix("10.1.0.0/23").Overlaps(got[0]); first != (i < 8) {
			t.Errorf("choice %d is %v: the first range is preferred", i, got)
		}
		taken.Insert(got[0])
	}
	if got := choose("id", s, []int{4}, &taken); got != nil {
		t.Errorf("out of a full range came %v", got)
	}
}
