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
//
// # What made it fast
//
// Measured pod to pod between two namespaces on two virtual processors, Linux
// 6.18, with `poplin lab bench overlay`; each against what there was before.
//
//   - Moving in bulk (vnet header, GSO, GRO, merging): one TCP stream from 0.42
//     to 0.54 of kernel VXLAN's.
//   - More GOMAXPROCS than processors: +19 to 28 % for one stream.
//   - Raw system calls but for waiting: −9 to −15 % processor time.
//   - Keeping the Go processor for 5 ms in ppoll: −18 %.
//   - Four chains of additions in checksums: 2.3 times as fast, AVX2 twice again;
//     −2.5 % in all.
//   - Sending a lone packet at once: −9 % round trip.
//   - Looking again for 50 µs before sleeping: +9 % for one stream, +16 % for
//     eight on a quiet machine, nothing on a saturated one.
//   - No gain: SCHED_BATCH, short slices, SCHED_FIFO, two lanes on two cores.
//
// # Latency
//
// A round trip through two tunnels wakes six threads, and kernel VXLAN's two.
// Waking one takes 1.1 µs on the processor that wakes it, but 32 to 38 µs on
// another virtual one that has halted (two processes and a pipe). So on an idle
// machine the wakes were nearly all of 105 to 128 µs, 4.2 times kernel VXLAN's;
// with everything on one processor the same code takes 30 µs. While all sleep,
// an answer comes about 110 µs after the packet before, so that looking for
// 50 µs was in vain every time (119 µs with it and without). Medians of round
// trips by how long a reader looks, kernel VXLAN's being 26 to 28 µs:
//
//	50 µs   105 to 128        100 µs  32 to 40
//	60 µs    76               120 µs  31 to 46
//	80 µs    30 to 45         150 to 300 µs  46 to 54
//
// Once readers stay awake, round trips are so short that they keep doing so.
// Looking for 100 µs whatever comes costs a thin stream (a packet each 70 to
// 90 µs) 63 to 84 % of a processor instead of 14 to 26 %; therefore the whole time is
// for answers only, and half of it for anything else: 13 to 37 %, 41 µs round
// trip. Without packets nothing looks.
//
// No gain: a first try that is twice or three times as long as the others (60
// µs after one of 120: the 76 above; 50 after one of 150: still 119); giving up for longer once another has
// had the processor between two looks (nothing within the noise, with one
// processor or both taken by others). With one processor taken by others,
// looking does not help: 37 to 48 µs against 16 of kernel VXLAN's, 38 without.
package udp
