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
// Packets are moved in bulk. The device hands out up to 64 KiB of a flow at
// once ([Burst]); the tunnel cuts it (splitter) and sends the packets, each in
// a datagram of its own on the wire, as one datagram with segments. Inwards
// the kernel hands over many datagrams as one; what follows each other in a
// flow is written to the device as one packet (merger), if that is what
// segmentation would cut into the very same packets. Each of these means is
// one of [Rungs]: missing in some kernel, broken in another, and not needed.
//
// Each lane is a goroutine that reads a queue of the device or a socket, in
// system calls of its own: see descriptors. The device is not that of
// golang.zx2c4.com/wireguard/tun, which waits in the runtime's poller (a wake-up
// of another thread for each), copies each packet into a buffer of its own
// before it merges or after it cuts, and allocates.
//
// The table is immutable and swapped whole. The path of a packet takes no
// lock, allocates nothing and logs nothing; what is dropped is counted by
// [Reason], and one warning a minute and reason is logged beside the path.
//
// Packets wait in the queues of the device and in the sockets. A tunnel that is
// told to end stops reading, sends what it has read and closes; what waits is
// there for the next one where somebody has held the descriptors meanwhile
// ([Descriptors], [InheritDevice], [InheritConn]).
//
// Packets are passed on unchanged. The kernel routes on both sides, so it
// decrements TTL and sends ICMP errors; the tunnel does neither (flannel's
// proxy does the first). Frames whose first nibble is neither 4 nor 6 are
// reserved for messages between tunnels and are ignored.
package udp
