package schema

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// conversion turns one document that the schema has accepted into its type,
// and collects what the schema could not say.
type conversion struct {
	root     *node
	meta     Meta
	findings []finding
	warnings []finding
}

func (c *conversion) refuse(at pointer, format string, args ...any) {
	c.findings = append(c.findings, finding{at: at, message: fmt.Sprintf(format, args...)})
}

func (c *conversion) warn(at pointer, format string, args ...any) {
	c.warnings = append(c.warnings, finding{at: at, message: fmt.Sprintf(format, args...)})
}

// place is where an element of the document stands.
func (c *conversion) place(n *node) Place {
	return Place{File: c.meta.Place.File, Line: n.line, Column: n.column}
}

// metaOf makes the Meta of a document.
func metaOf(m metadata, kind documentKind, file string, n *node) Meta {
	out := Meta{
		Name:   Name{Name: m.Name},
		Labels: m.Labels,
		Place:  Place{File: file, Line: n.line, Column: n.column},
	}
	if kind.namespaced {
		out.Namespace = m.Namespace
		if out.Namespace == "" {
			out.Namespace = "default"
		}
	}
	for key, value := range m.Annotations {
		if strings.HasPrefix(key, annotationPrefix) {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[key] = value
		}
	}
	return out
}

// prefixes parses ranges that the schema has checked.
func prefixes(texts []string) []netip.Prefix {
	if len(texts) == 0 {
		return nil
	}
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// addresses parses addresses that the schema has checked.
func addresses(texts []string) []netip.Addr {
	if len(texts) == 0 {
		return nil
	}
	out := make([]netip.Addr, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParseAddr(text)
	}
	return out
}

// onePerFamily refuses the second of two addresses of one family.
func (c *conversion) onePerFamily(at pointer, list []netip.Addr) {
	if len(list) == 2 && FamilyOf(list[0]) == FamilyOf(list[1]) {
		c.refuse(at.item(1), "%s and %s are both %s; at most one of each family", list[0], list[1], FamilyOf(list[0]))
	}
}

// onePrefixPerFamily is onePerFamily for ranges.
func (c *conversion) onePrefixPerFamily(at pointer, list []netip.Prefix) {
	if len(list) == 2 && FamilyOf(list[0].Addr()) == FamilyOf(list[1].Addr()) {
		c.refuse(at.item(1), "%s and %s are both %s; at most one of each family", list[0], list[1], FamilyOf(list[0].Addr()))
	}
}

// unicast refuses addresses that no host can have.
func (c *conversion) unicast(at pointer, a netip.Addr) {
	if what := notUnicast(a); what != "" {
		c.refuse(at, "%s is %s", a, what)
	}
}

// notUnicast says why no other host can be reached at an address, or "".
func notUnicast(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	case a.IsMulticast():
		return "a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	}
	return ""
}

// protocolOf reads a protocol; TCP where none is written.
func protocolOf(text string) Protocol {
	switch text {
	case "UDP":
		return UDP
	case "SCTP":
		return SCTP
	}
	return TCP
}

func familyNamed(text string) Family {
	if text == "IPv6" {
		return IPv6
	}
	return IPv4
}

// orDefault is the value, or the fallback for the zero value.
func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// atoi parses a number that a format has checked.
func atoi(text string) int {
	i, _ := strconv.Atoi(text)
	return i
}

func itoa[T ~int | ~uint16](i T) string { return strconv.Itoa(int(i)) }
