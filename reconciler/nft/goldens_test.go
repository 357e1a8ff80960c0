package nft

import (
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/poplin-net/poplin/reconciler"
)

// TestEveryGoldenOfTheCompilerGoesIntoTheKernel reads the tables, chains and
// elements out of the compiler's goldens, and goes from one to the next.
func TestEveryGoldenOfTheCompilerGoesIntoTheKernel(t *testing.T) {
	paths, err := filepath.Glob("../compile/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no goldens", err)
	}
	n := newNetns(t)
	x := target(t, n)
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name == "desired" {
				want := parseGolden(t, string(f.Data))
				reach(t, x, want)
				expect(t, n, x, want)
			}
		}
	}
}

// parseGolden reads the lines that are about nftables.
func parseGolden(t *testing.T, text string) reconciler.State {
	t.Helper()
	known := index()
	var groups []*reconciler.Group
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, " ") {
			groups = append(groups, &reconciler.Group{Name: strings.TrimSpace(line)})
			continue
		}
		words := strings.Fields(line)
		g := groups[len(groups)-1]
		switch {
		case words[0] == "table":
			g.Objects = append(g.Objects, markedTable(reconciler.Family(words[1])))
		case words[0] == "chain":
			c, ok := pickChain(reconciler.Family(words[1]), words[3])
			if !ok {
				t.Fatal(line)
			}
			g.Objects = append(g.Objects, c)
		case words[0] == "element":
			l := known[reconciler.SetName(words[3])]
			e := reconciler.Element{Family: reconciler.Family(words[1]), Set: l.name}
			_, rest, _ := strings.Cut(line, "{ ")
			key, value, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(rest), " }"), " : ")
			parts := strings.Split(key, " . ")
			if value != "" {
				parts = append(parts, strings.Split(strings.TrimPrefix(value, "goto "), " . ")...)
			}
			for i, p := range append(l.key[:len(l.key):len(l.key)], l.value...) {
				setField(t, &e, p, parts[i])
			}
			if strings.TrimSpace(line) != e.String() {
				t.Fatalf("%s became %s", strings.TrimSpace(line), e)
			}
			g.Objects = append(g.Objects, e)
		}
	}
	return reconciler.NewState(groups...)
}

// setField reads one part of an element's line.
func setField(t *testing.T, e *reconciler.Element, p field, text string) {
	t.Helper()
	number := func(text string) uint64 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	switch p {
	case fieldAddress, fieldSameAddress:
		e.Address = netip.MustParseAddr(text)
	case fieldLink:
		e.Link = text
	case fieldPrefix:
		e.Prefix = netip.MustParsePrefix(text)
	case fieldProtocol:
		e.Protocol = map[string]reconciler.Protocol{"tcp": reconciler.TCP, "udp": reconciler.UDP, "sctp": reconciler.SCTP}[text]
	case fieldPort:
		e.Port = uint16(number(text))
	case fieldPortRange:
		first, last, _ := strings.Cut(text, "-")
		e.Port, e.LastPort = uint16(number(first)), uint16(number(last))
	case fieldSlot, fieldNumber:
		e.Slot = uint32(number(text))
	case fieldTargetAddress:
		e.Target = netip.AddrPortFrom(netip.MustParseAddr(text), 0)
	case fieldTargetPort:
		e.Target = netip.AddrPortFrom(e.Target.Addr(), uint16(number(text)))
	case fieldChain, fieldNumbered:
		e.Chain = text
	}
}
