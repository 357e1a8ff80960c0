package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// outbound moves packets from the device to the current connection, until the
// device fails.
func (t *Tunnel) outbound() error {
	s := newOutbound(t)
	for {
		if err := s.round(); err != nil {
			return err
		}
	}
}

// outbound holds the buffers of the goroutine that reads the device.
type outbound struct {
	tunnel  *Tunnel
	packets [][]byte
	batch   []Datagram
	peers   []*peer // of batch
}

func newOutbound(t *Tunnel) *outbound {
	return &outbound{t, buffers(batchSize), make([]Datagram, batchSize), make([]*peer, batchSize)}
}

// buffers makes n buffers of MaxPacket bytes. Pages that no packet reaches
// are never touched, so they cost address space, not memory.
func buffers(n int) [][]byte {
	block, list := make([]byte, n*MaxPacket), make([][]byte, n)
	for i := range list {
		list[i] = block[i*MaxPacket : (i+1)*MaxPacket : (i+1)*MaxPacket]
	}
	return list
}

// round moves the packets of one read.
func (o *outbound) round() error {
	n, err := o.tunnel.device.Read(o.packets)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	table, k := o.tunnel.table.Load(), 0
	for _, packet := range o.packets[:n] {
		p, reason := table.route(packet)
		if reason != accepted {
			o.tunnel.drops.add(reason, netip.AddrPort{}, packet, nil)
			continue
		}
		o.batch[k] = Datagram{packet, p.endpoint}
		o.peers[k] = p
		k++
	}
	return o.send(k)
}

// send sends the first k datagrams, going on past those that are refused.
func (o *outbound) send(k int) error {
	for done := 0; done < k; {
		conn := o.tunnel.sender.Load()
		n, err := (*conn).Write(o.batch[done:k])
		for i := done; i < done+n; i++ {
			o.peers[i].traffic.sentPackets.Add(1)
			o.peers[i].traffic.sentBytes.Add(uint64(len(o.batch[i].Data)))
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
	return nil
}

func (o *outbound) refused(i int, err error) {
	reason := SendError
	if errors.Is(err, syscall.EMSGSIZE) {
		reason = Oversize
	}
	o.peers[i].traffic.dropped.Add(1)
	o.tunnel.drops.add(reason, o.batch[i].Addr, o.batch[i].Data, err)
}
