package nft

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// forgetBatch is the number of clients that one transaction forgets.
const forgetBatch = 1024

// forgetClients deletes the elements of clients that stick to endpoints that
// left, so that their ids can be given to others. No packet follows them
// meanwhile: the rules look for the endpoint first.
func (t *Target) forgetClients() error {
	if len(t.touched.freed) == 0 {
		return nil
	}
	sets := map[tableSet]bool{}
	for x := range t.touched.freed {
		set := reconciler.SetAffinity
		if !x.frontend.address.IsValid() {
			set = reconciler.SetNodePortAffinity
		}
		sets[tableSet{x.frontend.family, set}] = true
	}
	for s := range sets {
		keys, err := t.stuckClients(s)
		if err == nil {
			err = t.forget(s, keys)
		}
		if err != nil {
			return fmt.Errorf("set %s of table %s %s: %w", s.set, s.family, tableName, err)
		}
	}
	return nil
}

// stuckClients reads the keys of a set's elements whose ids were freed.
func (t *Target) stuckClients(s tableSet) ([][]byte, error) {
	l := index()[s.set]
	var keys [][]byte
	for key, err := range t.clientKeys(s) {
		if err != nil {
			return nil, err
		}
		e := reconciler.Element{Family: s.family, Set: s.set}
		if decode(l.key, key, &e) != nil {
			continue // cut short by an interruption
		}
		f := frontend{e.Family, e.Address, e.Protocol, e.Port}
		if t.touched.freed[freedID{f, e.Slot}] {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// clientKeys reads the keys of a dynamic set; of one that is not there, none.
func (t *Target) clientKeys(s tableSet) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: t.netns})
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() { _ = conn.Close() }() // nothing was written to it
		for m, err := range request(conn, nftablesType(unix.NFT_MSG_GETSETELEM), netlink.Dump, byte(family(s.family)),
			stringAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, tableName),
			stringAttribute(unix.NFTA_SET_ELEM_LIST_SET, string(s.set))) {
			if errors.Is(err, unix.ENOENT) {
				return // the table is gone, and its clients with it
			}
			if err != nil {
				yield(nil, err)
				return
			}
			list, _ := find(m, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
			for a := range attributes(list.data) {
				key, _ := find(a.data, unix.NFTA_SET_ELEM_KEY)
				v, _ := find(key.data, unix.NFTA_DATA_VALUE)
				if !yield(bytes.Clone(v.data), nil) {
					return
				}
			}
		}
	}
}

// forget deletes elements of a dynamic set, of which some may have timed out
// since they were read. Before Linux 6.3 one of these makes its transaction
// fail: transactions are then halved until they are without it.
func (t *Target) forget(s tableSet, keys [][]byte) error {
	size := forgetBatch
	for len(keys) > 0 {
		n := min(size, len(keys))
		err := t.deleteKeys(s, keys[:n])
		switch {
		case errors.Is(err, unix.ENOENT) && n > 1:
			size = n / 2
			continue
		case err != nil && !errors.Is(err, unix.ENOENT):
			return errors.Join(err, t.disconnect())
		}
		keys = keys[n:]
		size = min(2*size, forgetBatch)
	}
	return nil
}

// deleteKeys deletes elements in one transaction. Where the kernel can
// (NFT_MSG_DESTROYSETELEM, Linux 6.3), one that is gone is no error.
func (t *Target) deleteKeys(s tableSet, keys [][]byte) error {
	if err := t.connect(); err != nil {
		return err
	}
	elements := make([]nftables.SetElement, len(keys))
	for i, key := range keys {
		elements[i].Key = key
	}
	set := &nftables.Set{Table: table(s.family), Name: string(s.set)}
	if !t.noDestroy {
		err := t.conn.SetDestroyElements(set, elements)
		if err == nil {
			err = t.conn.Flush()
		}
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
		t.noDestroy = true
	}
	if err := t.conn.SetDeleteElements(set, elements); err != nil {
		return err
	}
	return t.conn.Flush()
}
