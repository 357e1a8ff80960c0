// Package udp is the userspace tunnel of the udp backend: raw IP packets in
// UDP datagrams, one packet in each, byte for byte the frames of flannel's
// udp backend.
//
//	kernel ──route──▶ poplin0 (Device) ──▶ Tunnel ──▶ socket (Conn) ──▶ underlay
//	kernel ◀────────  poplin0          ◀── Tunnel ◀── socket        ◀── underlay
//
// A [Tunnel] moves packets between two small interfaces, [Device] and [Conn].
// Outwards it looks up the destination in a longest-prefix table of peers;
// inwards it accepts a packet only if
//
//   - the outer source address is the underlay address of a known peer (not
//     its port: a sender may use several),
//   - the inner source is in a subnet that this very peer owns, and
//   - the inner destination is in no peer's subnet: the tunnel never forwards
//     back into the tunnel.
//
// The table is immutable and swapped whole. The path of a packet takes no
// lock, allocates nothing and logs nothing; what is dropped is counted by
// [Reason], and one warning a minute and reason is logged beside the path.
//
// Packets are passed on unchanged. The kernel routes on both sides, so it
// decrements TTL and sends ICMP errors; the tunnel does neither (flannel's
// proxy does the first). Frames whose first nibble is neither 4 nor 6 are
// reserved for messages between tunnels and are ignored.
package udp
