package udp

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
)

const (
	// receiveBatch is how many datagrams are received at once, at most. With
	// GRO each of them can be full of packets.
	receiveBatch = 32
	// receiveStride keeps the starts of buffers out of each other's way in
	// caches that are indexed by the low bits of an address.
	receiveStride = MaxPacket + 1 + 4096 + 64
)

// inbound moves packets from a lane of a connection to the device, until the
// connection is closed.
func (t *Tunnel) inbound(c Conn, lane int) error {
	r := newInbound(t, c, lane)
	for {
		if err := r.round(); err != nil {
			return t.leave(c, err)
		}
	}
}

// inbound holds the buffers of the goroutine that reads a lane.
type inbound struct {
	tunnel *Tunnel
	conn   Conn
	lane   int
	batch  []Datagram
	merger *merger
	// Of what was begun to be merged.
	peer *peer
	from netip.AddrPort
	// The verdict on the packet before: most are of the same flow.
	last verdict
}

// verdict is what the table said to a pair of addresses.
type verdict struct {
	table *table
	from  netip.Addr
	inner []byte // addresses, of an accepted packet
	room  [32]byte
	peer  *peer
}

func newInbound(t *Tunnel, c Conn, lane int) *inbound {
	r := &inbound{tunnel: t, conn: c, lane: lane, batch: make([]Datagram, receiveBatch), merger: newMerger()}
	block := make([]byte, receiveBatch*receiveStride)
	for i := range r.batch {
		r.batch[i].Data = block[i*receiveStride : i*receiveStride+MaxPacket : i*receiveStride+MaxPacket]
	}
	return r
}

// round moves the datagrams of one read.
func (r *inbound) round() error {
	n, err := r.conn.Read(r.lane, r.batch)
	if err != nil {
		return err
	}
	table := r.tunnel.table.Load()
	for i := range r.batch[:n] {
		r.split(table, &r.batch[i])
	}
	r.flush()
	return nil
}

// split takes the packets of a datagram. Of a stranger's, it does not look at
// each: a flood is no reason to stop working.
func (r *inbound) split(table *table, d *Datagram) {
	data, size := d.Data, d.Segment
	if size == 0 || size >= len(data) {
		r.take(table, d.Addr, data)
		return
	}
	if _, known := table.byAddress[d.Addr.Addr()]; !known {
		r.drop(uint64((len(data)+size-1)/size), UnknownPeer, nil, d.Addr, data[:size], nil)
		return
	}
	for ; len(data) > size; data = data[size:] {
		r.take(table, d.Addr, data[:size:size])
	}
	r.take(table, d.Addr, data)
}

// take accepts a packet or drops it.
func (r *inbound) take(table *table, from netip.AddrPort, packet []byte) {
	p, reason := r.last.accept(table, from.Addr(), packet)
	if reason != accepted {
		r.drop(1, reason, p, from, packet, nil)
		return
	}
	f, mergeable := flowHeader{}, r.tunnel.merges.Load()
	if mergeable {
		if f, mergeable = parseFlow(packet); mergeable && p == r.peer && r.merger.add(packet, f) {
			return
		}
	}
	r.flush()
	r.merger.start(packet, f, mergeable)
	r.peer, r.from = p, from
}

// flush writes what was merged. A device that is gone for good is for its
// reader to notice.
func (r *inbound) flush() {
	m := r.merger
	if len(m.parts) == 0 {
		return
	}
	packets := uint64(len(m.parts))
	bytes := uint64(m.total) + (packets-1)*uint64(m.flow.header)
	err := r.tunnel.device.Write(r.lane, m.finish(), m.parts)
	if err == nil {
		r.peer.traffic.receivedPackets.Add(packets)
		r.peer.traffic.receivedBytes.Add(bytes)
	} else {
		if packets > 1 && errors.Is(err, syscall.EINVAL) {
			r.tunnel.merges.Store(false) // a kernel that does not take it after all
		}
		r.drop(packets, DeviceError, r.peer, r.from, m.parts[0], err)
	}
	m.parts = m.parts[:0]
}

func (r *inbound) drop(n uint64, reason Reason, p *peer, from netip.AddrPort, packet []byte, err error) {
	if p != nil {
		p.traffic.dropped.Add(n)
	}
	r.tunnel.drops.addMany(n, reason, from, packet, err)
}

// accept asks the table, unless the packet before had the same addresses.
func (v *verdict) accept(t *table, from netip.Addr, packet []byte) (*peer, Reason) {
	key := addressesOf(packet)
	if v.table == t && len(key) > 0 && len(key) == len(v.inner) && v.from == from && slices.Equal(key, v.inner) {
		if _, reason := parseHeader(packet); reason == accepted {
			return v.peer, accepted
		}
	}
	p, reason := t.accept(from, packet)
	if reason == accepted {
		v.table, v.from, v.peer = t, from, p
		v.inner = v.room[:copy(v.room[:], key)]
	}
	return p, reason
}

// addressesOf is where a packet has its addresses; their number of bytes
// tells the version.
func addressesOf(packet []byte) []byte {
	switch {
	case len(packet) >= headerIPv4 && packet[0]>>4 == 4:
		return packet[12:20]
	case len(packet) >= headerIPv6 && packet[0]>>4 == 6:
		return packet[8:40]
	}
	return nil
}
