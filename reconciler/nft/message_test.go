package nft

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// FuzzMessages feeds bytes to everything that reads what the kernel sends.
func FuzzMessages(f *testing.F) {
	key, _ := layouts()[0].set(table(reconciler.IPv4), reconciler.IPv4)
	f.Add([]byte(nil))
	f.Add([]byte{8, 0, 1, 0, 1, 2, 3, 4, 4, 0, 2, 128})
	f.Add(make([]byte, key.KeyType.Bytes+unix.NLMSG_HDRLEN+header))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseElement(b, false)
		_ = parseExpressions(b)
		_, _ = parseConnection(b)
		_ = (*hook)(nil).describes(b)
		m := &monitor{stale: map[reconciler.Family]bool{}}
		_ = m.take(b)
		for _, l := range layouts() {
			for _, family := range families() {
				e := reconciler.Element{Family: family, Set: l.name}
				if decode(l.key, b, &e) == nil && !l.interval() && e.Address != (netip.Addr{}) && !e.Address.Is4In6() {
					again := reconciler.Element{Family: family, Set: l.name}
					if err := decode(l.key, encode(l.key, e), &again); err != nil || again != e {
						t.Errorf("%s: %s became %s", l.name, e, again)
					}
				}
				_ = l.describes(family, b)
			}
		}
	})
}
