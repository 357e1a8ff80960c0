package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// setCount is the attribute of a set that says how many elements it has
// (NFTA_SET_COUNT in linux/netfilter/nf_tables.h, since Linux 6.16).
const setCount = 20

// Crowd is how many clients stick to endpoints through one kind of address.
type Crowd struct {
	Family      reconciler.Family
	Set         reconciler.SetName
	Count, Size int
}

// Full reports whether further clients do not stick any more.
func (c Crowd) Full() bool { return c.Size > 0 && c.Count >= c.Size }

// Crowds counts the clients that stick to endpoints. Kernels before 6.16 do
// not tell their number without listing them, and are not asked for that:
// then there are none. It does not wait for a commit.
func (t *Target) Crowds() (out []Crowd, err error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: t.netns})
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, f := range families() {
		for _, set := range []reconciler.SetName{reconciler.SetAffinity, reconciler.SetNodePortAffinity} {
			for m, err := range request(conn, nftablesType(unix.NFT_MSG_GETSET), 0, byte(family(f)),
				stringAttribute(unix.NFTA_SET_TABLE, tableName), stringAttribute(unix.NFTA_SET_NAME, string(set))) {
				if errors.Is(err, unix.ENOENT) {
					break
				}
				if err != nil {
					return nil, fmt.Errorf("set %s of table %s %s: %w", set, f, tableName, err)
				}
				if c, ok := crowdOf(m); ok {
					c.Family, c.Set = f, set
					out = append(out, c)
				}
			}
		}
	}
	return out, nil
}

func crowdOf(m []byte) (c Crowd, ok bool) {
	count, ok := find(m, setCount)
	if !ok || len(count.data) != 4 {
		return c, false
	}
	description, _ := find(m, unix.NFTA_SET_DESC)
	size, ok := find(description.data, unix.NFTA_SET_DESC_SIZE)
	if !ok || len(size.data) != 4 {
		return c, false
	}
	return Crowd{Count: int(binary.BigEndian.Uint32(count.data)), Size: int(binary.BigEndian.Uint32(size.data))}, true
}
