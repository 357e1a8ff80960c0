package daemon

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/poplin-net/poplin/schema"
)

func TestReadResolver(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "# a comment\nnameserver 192.0.2.53\nnameserver nonsense\nnameserver 2001:db8::53\ndomain first.example\nsearch a.example b.example\noptions ndots:2 edns0\n")
	stub := write("stub", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n")
	behind := write("behind", "nameserver 192.0.2.54\n")
	addr := netip.MustParseAddr
	compare := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for name, c := range map[string]struct {
		path, instead string
		want          schema.DNSConfig
	}{
		"plain": {plain, behind, schema.DNSConfig{
			Nameservers: []netip.Addr{addr("192.0.2.53"), addr("2001:db8::53")}, Searches: []string{"a.example", "b.example"},
			Options: []schema.DNSOption{{Name: "ndots", Value: "2"}, {Name: "edns0"}},
		}},
		"behind systemd-resolved": {stub, behind, schema.DNSConfig{Nameservers: []netip.Addr{addr("192.0.2.54")}}},
		"loopback only": {stub, filepath.Join(dir, "none"), schema.DNSConfig{
			Nameservers: []netip.Addr{}, Searches: []string{"."}, Options: []schema.DNSOption{{Name: "edns0"}, {Name: "trust-ad"}},
		}},
		"none": {filepath.Join(dir, "none"), behind, schema.DNSConfig{}},
	} {
		if diff := cmp.Diff(c.want, readResolver(c.path, c.instead), compare); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
