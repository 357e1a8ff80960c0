package nft

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// Attributes that golang.org/x/sys/unix does not know (linux/netfilter/nf_tables.h).
const (
	nftaTableHandle = 4
	nftSetConcat    = 0x80
	nftaSetExpr     = 17
)

// found is what was read of one family's table.
type found struct {
	exists bool
	handle uint64 // the kernel's number of the table, never used again
	// version is that of the marker, 0 without one.
	version  int
	damage   string // what of the skeleton is missing or changed
	chains   []reconciler.Chain
	elements []reconciler.Element
}

// objects lists what of a table counts as observed. Nothing in a damaged one
// does: it will be made anew.
func (t found) objects(f reconciler.Family) []reconciler.Object {
	if !t.exists || t.version == 0 {
		return nil
	}
	out := []reconciler.Object{reconciler.Table{Family: f, Version: t.version, Damage: t.damage}}
	if t.damage != "" || t.version != reconciler.SkeletonVersion {
		return out
	}
	for _, c := range t.chains {
		out = append(out, c)
	}
	for _, e := range t.elements {
		out = append(out, e)
	}
	return out
}

// reader reads one family's table.
type reader struct {
	conn   *netlink.Conn
	family reconciler.Family
	// wanted holds the pick chains that are mended in place if their rules
	// differ.
	wanted map[reconciler.Chain]bool
	found  found
}

// damaged notes what is wrong with the table; the first finding is kept.
func (r *reader) damaged(format string, args ...any) {
	if r.found.damage == "" {
		r.found.damage = fmt.Sprintf(format, args...)
	}
}

func (r *reader) dump(message int, attrs ...netlink.Attribute) func(func([]byte, error) bool) {
	return request(r.conn, nftablesType(message), netlink.Dump, byte(family(r.family)), attrs...)
}

// read reads the table whole. A table with the handle ours is poplin's even
// if its marker is gone.
func (r *reader) read(ours uint64) (found, error) {
	if err := r.readTable(); err != nil || !r.found.exists {
		return r.found, err
	}
	for range readTries {
		before, err := r.generation()
		if err != nil {
			return found{}, err
		}
		table := r.found
		if err := r.readSkeleton(ours); err != nil {
			return found{}, err
		}
		after, err := r.generation()
		if err != nil {
			return found{}, err
		}
		if before == after {
			return r.found, r.readAllElements()
		}
		r.found = table
	}
	return found{}, fmt.Errorf("table %s %s: other tables change faster than it can be read", r.family, tableName)
}

// readTries bounds how often the skeleton is read again because some table,
// not necessarily ours, changed: the kernel counts its way through the chains
// of all tables, and may leave out some when others go.
const readTries = 20

// generation gives the number of the last change of any table.
func (r *reader) generation() (n uint32, err error) {
	for m, err := range request(r.conn, nftablesType(unix.NFT_MSG_GETGEN), 0, unix.AF_UNSPEC) {
		if err != nil {
			return 0, fmt.Errorf("nftables generation: %w", err)
		}
		id, _ := find(m, unix.NFTA_GEN_ID)
		n = id.uint32()
	}
	return n, nil
}

// readSkeleton reads everything but elements, and compares it.
func (r *reader) readSkeleton(ours uint64) error {
	rules, err := r.readChains()
	if err != nil {
		return err
	}
	switch {
	case r.found.version == 0 && r.found.handle == ours:
		r.found.version = reconciler.SkeletonVersion
		r.damaged("chain %s is missing", markerName())
		return nil
	case r.found.version != reconciler.SkeletonVersion:
		r.found.damage = "" // it is judged by rules of its own
		return nil
	}
	if err := r.readRules(rules); err != nil {
		return err
	}
	return r.readSets()
}

func (r *reader) readTable() error {
	for m, err := range request(r.conn, nftablesType(unix.NFT_MSG_GETTABLE), 0, byte(family(r.family)),
		stringAttribute(unix.NFTA_TABLE_NAME, tableName)) {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("table %s %s: %w", r.family, tableName, err)
		}
		r.found.exists = true
		for a := range attributes(m) {
			switch a.kind {
			case nftaTableHandle:
				for _, b := range a.data {
					r.found.handle = r.found.handle<<8 | uint64(b)
				}
			case unix.NFTA_TABLE_FLAGS:
				if a.uint32() != 0 {
					r.damaged("the table has flags %#x", a.uint32())
				}
			}
		}
	}
	return nil
}

// readSets checks that the sets are those of the skeleton.
func (r *reader) readSets() error {
	seen := map[reconciler.SetName]bool{}
	known := index()
	for m, err := range r.dump(unix.NFT_MSG_GETSET, stringAttribute(unix.NFTA_SET_TABLE, tableName)) {
		if err != nil {
			return fmt.Errorf("sets of table %s %s: %w", r.family, tableName, err)
		}
		name, _ := find(m, unix.NFTA_SET_NAME)
		l, ok := known[reconciler.SetName(name.text())]
		if !ok {
			r.damaged("set %s is not poplin's", name.text())
			continue
		}
		seen[l.name] = true
		if !l.describes(r.family, m) {
			r.damaged("set %s is of another type", l.name)
		}
	}
	for _, l := range layouts() {
		if !seen[l.name] {
			r.damaged("set %s is missing", l.name)
		}
	}
	return nil
}

// describes reports whether the kernel's description of a set is that of the
// layout.
func (l layout) describes(f reconciler.Family, m []byte) bool {
	want, err := l.set(&nftables.Table{Name: tableName, Family: family(f)}, f)
	if err != nil {
		return false
	}
	var flags, keyType, keyLength, dataType, dataLength uint32
	counts := false
	for a := range attributes(m) {
		switch a.kind {
		case unix.NFTA_SET_FLAGS:
			flags = a.uint32()
		case unix.NFTA_SET_KEY_TYPE:
			keyType = a.uint32()
		case unix.NFTA_SET_KEY_LEN:
			keyLength = a.uint32()
		case unix.NFTA_SET_DATA_TYPE:
			dataType = a.uint32()
		case unix.NFTA_SET_DATA_LEN:
			dataLength = a.uint32()
		case nftaSetExpr:
			name, _ := find(a.data, unix.NFTA_EXPR_NAME)
			counts = name.text() == "counter"
		}
	}
	var wantFlags, wantData uint32
	if want.Interval {
		wantFlags |= unix.NFT_SET_INTERVAL
	}
	if want.IsMap {
		wantFlags |= unix.NFT_SET_MAP
		wantData = want.DataType.GetNFTMagic()
	}
	if want.Concatenation {
		wantFlags |= nftSetConcat
	}
	if l.dynamic {
		wantFlags |= unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	}
	if l.verdict() {
		wantData, dataLength = unix.NFT_DATA_VERDICT, 0
	}
	return flags == wantFlags && counts == l.counts && keyType == want.KeyType.GetNFTMagic() && keyLength == want.KeyType.Bytes &&
		dataType == wantData && dataLength == want.DataType.Bytes
}

// readAllElements reads the elements of a table that is sound.
func (r *reader) readAllElements() error {
	for _, l := range layouts() {
		if r.found.version != reconciler.SkeletonVersion || r.found.damage != "" {
			return nil
		}
		if l.dynamic {
			continue
		}
		if err := r.readElements(l); err != nil {
			return fmt.Errorf("set %s of table %s %s: %w", l.name, r.family, tableName, err)
		}
	}
	return nil
}

// readElements reads one set.
func (r *reader) readElements(l layout) error {
	before := len(r.found.elements)
	var ranges []bound
	begin := func() { r.found.elements, ranges = r.found.elements[:before], nil }
	err := r.dumpSet(l, begin, func(raw rawElement, err error) {
		switch {
		case err != nil:
			r.damaged("set %s: %v", l.name, err)
		case l.interval():
			ranges = append(ranges, bound{raw.key, raw.end})
		default:
			r.addElement(l, raw)
		}
	})
	if err != nil {
		return err
	}
	list, err := prefixes(ranges)
	if err != nil {
		r.damaged("set %s: %v", l.name, err)
	}
	r.addPrefixes(l.name, list)
	return nil
}

func (r *reader) addElement(l layout, raw rawElement) {
	e, err := l.element(r.family, raw)
	if err != nil {
		r.damaged("set %s: %v", l.name, err)
		return
	}
	r.found.elements = append(r.found.elements, e)
}

// element decodes an element of a set.
func (l layout) element(f reconciler.Family, raw rawElement) (reconciler.Element, error) {
	e := reconciler.Element{Family: f, Set: l.name, Chain: raw.chain}
	err := errors.Join(decode(l.key, raw.key, &e), decode(l.value, raw.value, &e))
	if l.ranged() && err == nil {
		err = decodeEnd(l.key, raw.keyEnd, &e)
	}
	return e, err
}

func (r *reader) addPrefixes(set reconciler.SetName, list []netip.Prefix) {
	for _, p := range list {
		r.found.elements = append(r.found.elements, reconciler.Element{Family: r.family, Set: set, Prefix: p})
	}
}

// rawElement is an element as the kernel gives it.
type rawElement struct {
	key, value []byte
	keyEnd     []byte // of a key that ends with a range
	chain      string // of a verdict
	end        bool   // the end of a range
	count      Count  // in sets that count
}

// parseElement reads an element. What poplin never gives its elements (a
// time-out, a counter where the set has none, a verdict other than goto, a flag
// other than that of a range's end) is an error.
func parseElement(b []byte, counts bool) (rawElement, error) {
	var e rawElement
	for a := range attributes(b) {
		switch a.kind {
		case unix.NFTA_SET_ELEM_KEY:
			v, _ := find(a.data, unix.NFTA_DATA_VALUE)
			e.key = v.data
		case nftables.NFTA_SET_ELEM_KEY_END:
			v, _ := find(a.data, unix.NFTA_DATA_VALUE)
			e.keyEnd = v.data
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = a.uint32()&unix.NFT_SET_ELEM_INTERVAL_END != 0
			if others := a.uint32() &^ unix.NFT_SET_ELEM_INTERVAL_END; others != 0 {
				return e, fmt.Errorf("an element has flags %#x", others) // 0x2: it stands for all others, and has no key
			}
		case unix.NFTA_SET_ELEM_DATA:
			if v, ok := find(a.data, unix.NFTA_DATA_VALUE); ok {
				e.value = v.data
				continue
			}
			verdict, _ := find(a.data, unix.NFTA_DATA_VERDICT)
			code, _ := find(verdict.data, unix.NFTA_VERDICT_CODE)
			chain, _ := find(verdict.data, unix.NFTA_VERDICT_CHAIN)
			if int32(code.uint32()) != unix.NFT_GOTO {
				return e, fmt.Errorf("an element has verdict %d", int32(code.uint32()))
			}
			e.chain = chain.text()
		case unix.NFTA_SET_ELEM_USERDATA, unix.NFTA_SET_ELEM_PAD:
			// A comment changes nothing.
		case unix.NFTA_SET_ELEM_EXPR:
			if !counts {
				return e, errors.New("an element has a counter")
			}
			e.count = parseCounter(a.data)
		default:
			return e, fmt.Errorf("an element has an attribute %d", a.kind)
		}
	}
	return e, nil
}
