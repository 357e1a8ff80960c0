package nft

import (
	"errors"

	"golang.org/x/sys/unix"
)

// dumpSet reads the elements of one set and gives each to the function each,
// or what is wrong with it. The kernel counts its way through a set that takes
// several messages; when the hash table is resized in between, which it does
// some time after many elements were added and without a new generation, it
// goes on at the right count in another order. As many elements are then
// missing as come twice: the set is read again (nft_rhash_walk, Linux 6.18).
// Each time begins with a call of begin, which forgets the time before.
func (r *reader) dumpSet(l layout, begin func(), each func(rawElement, error)) error {
	for range readTries {
		begin()
		twice, err := r.tryDump(l, each)
		if err != nil || !twice {
			return err
		}
	}
	return errors.New("the kernel rearranges it faster than it can be read")
}

// tryDump reads one set, and reports whether an element came twice. Bounds of
// ranges are not looked at: one may end where another starts.
func (r *reader) tryDump(l layout, each func(rawElement, error)) (twice bool, err error) {
	seen := map[string]bool{}
	for m, err := range r.dump(unix.NFT_MSG_GETSETELEM,
		stringAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, tableName),
		stringAttribute(unix.NFTA_SET_ELEM_LIST_SET, string(l.name))) {
		if err != nil {
			return false, err
		}
		list, _ := find(m, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for a := range attributes(list.data) {
			raw, err := parseElement(a.data, l.counts)
			each(raw, err)
			if err != nil || l.interval() {
				continue
			}
			key := string(raw.key) + string(raw.keyEnd)
			twice = twice || seen[key]
			seen[key] = true
		}
	}
	return twice, nil
}
