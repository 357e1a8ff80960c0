package reconciler

import "net/netip"

// FDBEntry is an entry of a VXLAN link's forwarding database: frames to the
// link-layer address go to the underlay address, on the link's port.
type FDBEntry struct {
	MAC         MAC
	Link        string
	Destination netip.Addr
}

// FDBEntryKey identifies an FDBEntry.
type FDBEntryKey struct {
	MAC  MAC
	Link string
}

func (e FDBEntry) Kind() Kind   { return KindFDBEntry }
func (e FDBEntry) Key() Key     { return FDBEntryKey{e.MAC, e.Link} }
func (e FDBEntry) Needs() []Key { return []Key{LinkKey{"", e.Link}} }

func (e FDBEntry) String() string {
	return "fdb " + e.MAC.String() + " dev " + e.Link + " dst " + e.Destination.String()
}
