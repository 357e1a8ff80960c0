package udp

// inbound moves packets from a connection to the device, until the connection
// is closed.
func (t *Tunnel) inbound(c Conn) error {
	r := newInbound(t, c)
	for {
		if err := r.round(); err != nil {
			return t.leave(c, err)
		}
	}
}

// inbound holds the buffers of the goroutine that reads a connection.
type inbound struct {
	tunnel  *Tunnel
	conn    Conn
	batch   []Datagram
	packets [][]byte
	from    []int // index in batch of each packet
	peers   []*peer
}

func newInbound(t *Tunnel, c Conn) *inbound {
	r := &inbound{
		t, c, make([]Datagram, batchSize), make([][]byte, batchSize), make([]int, batchSize), make([]*peer, batchSize),
	}
	for i, b := range buffers(batchSize) {
		r.batch[i].Data = b
	}
	return r
}

// round moves the datagrams of one read.
func (r *inbound) round() error {
	n, err := r.conn.Read(r.batch)
	if err != nil {
		return err
	}
	table, k := r.tunnel.table.Load(), 0
	for i, d := range r.batch[:n] {
		p, reason := table.accept(d.Addr.Addr(), d.Data)
		if reason != accepted {
			r.drop(reason, i, p, nil)
			continue
		}
		r.packets[k], r.from[k], r.peers[k] = d.Data, i, p
		k++
	}
	r.deliver(k)
	return nil
}

// deliver writes the first k packets, going on past those that are refused.
// A device that is gone for good is for its reader to notice.
func (r *inbound) deliver(k int) {
	for done := 0; done < k; {
		n, err := r.tunnel.device.Write(r.packets[done:k])
		for i := done; i < done+n; i++ {
			r.peers[i].traffic.receivedPackets.Add(1)
			r.peers[i].traffic.receivedBytes.Add(uint64(len(r.packets[i])))
		}
		done += n
		if err != nil {
			r.drop(DeviceError, r.from[done], r.peers[done], err)
			done++
		}
	}
}

func (r *inbound) drop(reason Reason, i int, p *peer, err error) {
	if p != nil {
		p.traffic.dropped.Add(1)
	}
	r.tunnel.drops.add(reason, r.batch[i].Addr, r.batch[i].Data, err)
}
