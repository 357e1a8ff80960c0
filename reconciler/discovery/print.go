package discovery

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// String writes the table in the form of a zone file, by name. Names that
// exist only because of others below them are comments.
func (t *Table) String() string {
	var b strings.Builder
	for _, n := range t.all() {
		if len(n.sets) == 0 {
			fmt.Fprintf(&b, "; %s\n", Text(n.name))
		}
		for i := range n.sets {
			n.sets[i].write(&b, n.name)
		}
	}
	return b.String()
}

// write writes the records of a set, each a line.
func (s *Set) write(b *strings.Builder, owner string) {
	for _, d := range s.data() {
		fmt.Fprintf(b, "%s %d IN %s\n", Text(owner), TTL, presentation(s.Type, d))
	}
}

// presentation writes the type of a record and what it says.
func presentation(kind uint16, d string) string {
	switch kind {
	case TypeA, TypeAAAA:
		a, _ := netip.AddrFromSlice([]byte(d))
		if kind == TypeA {
			return "A " + a.String()
		}
		return "AAAA " + a.String()
	case TypeCNAME:
		return "CNAME " + Text(d)
	case TypePTR:
		return "PTR " + Text(d)
	case TypeSRV:
		n := func(at int) uint16 { return binary.BigEndian.Uint16([]byte(d[at : at+2])) }
		return fmt.Sprintf("SRV %d %d %d %s", n(0), n(2), n(4), Text(d[6:]))
	case TypeTXT:
		return fmt.Sprintf("TXT %q", d[1:])
	}
	return fmt.Sprintf("TYPE%d \\# %d %x", kind, len(d), d)
}

// all lists the nodes by name, the last label first.
func (t *Table) all() []*node {
	var out []*node
	for _, p := range t.pages {
		if p == nil {
			continue
		}
		for _, n := range p {
			for ; n != nil; n = n.next {
				out = append(out, n)
			}
		}
	}
	slices.SortFunc(out, func(a, b *node) int { return slices.Compare(labels(a.name), labels(b.name)) })
	return out
}

// labels lists the labels of a name, the last one first: the order of zones
// (RFC 4034 6.1).
func labels(name string) []string {
	var out []string
	for ; name[0] != 0; name = parent(name) {
		out = append(out, name[1:1+int(name[0])])
	}
	slices.Reverse(out)
	return out
}
