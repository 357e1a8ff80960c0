package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

const (
	// readRoom is how many bytes are read from a device before they are sent:
	// a few bursts, which stay in a core's cache.
	readRoom = 4 * maxBurst
	// sendRoom holds what is made of them. Cutting repeats headers.
	sendRoom = 6 * maxBurst
	// batchSize is how many packets or datagrams are moved at once, at most.
	batchSize = 64
)

// outbound moves packets from a lane of the device to the current connection,
// until the device fails.
func (t *Tunnel) outbound(lane int) error {
	s := newOutbound(t, lane)
	for {
		if err := s.round(); err != nil {
			return err
		}
	}
}

// outbound holds the buffers of the goroutine that reads a lane.
type outbound struct {
	tunnel *Tunnel
	lane   int
	room   []byte // for reading
	bursts []Burst
	block  []byte     // what is to be sent, one datagram behind the other
	batch  []Datagram // of block
	to     []sending  // beside batch
}

// sending says whose a datagram is and how many packets are in it.
type sending struct {
	peer    *peer
	packets int
}

func newOutbound(t *Tunnel, lane int) *outbound {
	return &outbound{
		tunnel: t, lane: lane, room: make([]byte, readRoom), bursts: make([]Burst, batchSize),
		block: make([]byte, 0, sendRoom), batch: make([]Datagram, 0, batchSize), to: make([]sending, 0, batchSize),
	}
}

// round moves the packets of one read.
func (o *outbound) round() error {
	n, err := o.tunnel.device.Read(o.lane, o.room, o.bursts)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	table := o.tunnel.table.Load()
	for i := range o.bursts[:n] {
		if err := o.add(table, &o.bursts[i]); err != nil {
			return err
		}
	}
	return o.send()
}

// add makes datagrams of a burst.
func (o *outbound) add(table *table, b *Burst) error {
	p, reason := table.route(b.Data)
	if reason != accepted {
		o.tunnel.drops.add(reason, netip.AddrPort{}, b.Data, nil)
		return nil
	}
	flow := flowOf(b.Data)
	if b.Offload.Kind != segmentsNone {
		return o.cut(p, flow, b)
	}
	out, err := o.reserve(p, flow, len(b.Data))
	if err != nil {
		return err
	}
	copy(out, b.Data)
	if b.Offload.Flags&needsChecksum != 0 {
		completeChecksum(out, b.Offload) // one without the field is the receiver's to refuse
	}
	return nil
}

// cut makes datagrams of the packets in a burst.
func (o *outbound) cut(p *peer, flow uint8, b *Burst) error {
	s, ok := newSplitter(b.Data, b.Offload)
	if !ok {
		p.traffic.dropped.Add(1)
		o.tunnel.drops.add(TruncatedOut, netip.AddrPort{}, b.Data, nil)
		return nil
	}
	for i := range s.count() {
		out, err := o.reserve(p, flow, s.length(i))
		if err != nil {
			return err
		}
		s.write(i, out)
	}
	return nil
}

// reserve gives room for a packet: behind the last one in the same datagram,
// where that is one to the same peer of packets of the same size, else in a
// new one. What there is is sent if there is no more room.
func (o *outbound) reserve(p *peer, flow uint8, size int) ([]byte, error) {
	if len(o.block)+size > cap(o.block) {
		if err := o.send(); err != nil {
			return nil, err
		}
	}
	start := len(o.block)
	o.block = o.block[:start+size]
	out := o.block[start : start+size : start+size]
	if i := len(o.batch) - 1; i >= 0 && o.fits(i, p, flow, size) {
		d := &o.batch[i]
		d.Data = d.Data[:len(d.Data)+size]
		o.to[i].packets++
		return out, nil
	}
	if len(o.batch) == cap(o.batch) {
		o.block = o.block[:start]
		if err := o.send(); err != nil {
			return nil, err
		}
		return o.reserve(p, flow, size)
	}
	o.batch = append(o.batch, Datagram{Data: o.block[start : start+size], Segment: size, Addr: p.endpoint, Flow: flow})
	o.to = append(o.to, sending{p, 1})
	return out, nil
}

// fits reports whether the i-th datagram, the last one, can take a packet.
func (o *outbound) fits(i int, p *peer, flow uint8, size int) bool {
	d := &o.batch[i]
	return o.to[i].peer == p && d.Flow == flow && size <= d.Segment && o.to[i].packets < maxSegments &&
		len(d.Data) == o.to[i].packets*d.Segment && len(d.Data)+size <= maxPayload
}

// send sends what there is, going on past datagrams that are refused.
func (o *outbound) send() error {
	for done := 0; done < len(o.batch); {
		conn := o.tunnel.sender.Load()
		n, err := (*conn).Write(o.lane, o.batch[done:])
		for i := done; i < done+n; i++ {
			o.to[i].peer.traffic.sentPackets.Add(uint64(o.to[i].packets))
			o.to[i].peer.traffic.sentBytes.Add(uint64(len(o.batch[i].Data)))
		}
		done += n
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			if o.tunnel.sender.Load() == conn {
				return fmt.Errorf("write: %w", err)
			}
		default:
			o.refused(done, err)
			done++
		}
	}
	o.block, o.batch, o.to = o.block[:0], o.batch[:0], o.to[:0]
	return nil
}

func (o *outbound) refused(i int, err error) {
	reason := SendError
	if errors.Is(err, syscall.EMSGSIZE) {
		reason = Oversize
	}
	n := uint64(o.to[i].packets)
	o.to[i].peer.traffic.dropped.Add(n)
	o.tunnel.drops.addMany(n, reason, o.batch[i].Addr, o.batch[i].Data, err)
}
