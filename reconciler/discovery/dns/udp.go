package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"github.com/poplin-net/poplin/reconciler/discovery"
)

// socket is a UDP socket of a worker.
type socket struct {
	conn   *net.UDPConn
	raw    syscall.RawConn
	local  netip.Addr
	failed atomic.Bool
}

func newSocket(conn *net.UDPConn, local netip.Addr) (*socket, error) {
	raw, err := conn.SyscallConn()
	return &socket{conn: conn, raw: raw, local: local}, err
}

// serveDatagrams answers what comes until the socket is closed.
func (w *worker) serveDatagrams(s *socket) {
	v := newVector()
	receive, transmit := v.receive, v.transmit // bound once: nothing is allocated for a batch
	for {
		err := s.raw.Read(receive)
		if err == nil && v.errno != 0 {
			err = v.errno
		}
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				w.log.Error("DNS socket", "address", s.conn.LocalAddr(), "error", err)
				s.failed.Store(true)
				w.poke() // opens another one
			}
			return
		}
		for i := range v.received {
			w.answerDatagram(v, s, i)
		}
		// What cannot be sent is lost, as datagrams may be: the client asks again.
		if err := s.raw.Write(transmit); err != nil && !errors.Is(err, net.ErrClosed) {
			w.log.Debug("DNS socket", "address", s.conn.LocalAddr(), "error", err)
		}
	}
}

// answerDatagram queues the answer to the i-th datagram, or hands it over to
// a goroutine.
func (w *worker) answerDatagram(v *vector, s *socket, i int) {
	data, whole := v.query(i)
	if !whole {
		w.count.dropped.Add(1)
		return
	}
	p := packet{data: data, client: v.client(i).Addr(), server: s.local}
	reply, pending := w.handle(v.buffer(i), p)
	switch {
	case pending:
		p.data = append([]byte(nil), data...)
		way := v.way(i)
		w.later(p, func(reply []byte) {
			if _, err := s.conn.WriteToUDPAddrPort(reply, way); err != nil {
				w.log.Debug("DNS socket", "address", s.conn.LocalAddr(), "error", err)
			}
		}, func() { v.queue(i, w.refuse(v.buffer(i), servFail)) })
	case reply != nil:
		v.queue(i, reply)
	}
}

// later answers a packet beside the worker, which takes asking others. If too
// much is under way already, busy is called instead, at once.
func (w *worker) later(p packet, send func([]byte), busy func()) {
	if !w.tasks.enter(p.client) {
		w.count.busy.Add(1)
		busy()
		return
	}
	w.spawn(func(ctx context.Context) {
		defer w.tasks.leave(p.client)
		send(w.newWorker().ask(ctx, p))
	})
}

// ask makes the answer to a packet that handle left pending.
func (w *worker) ask(ctx context.Context, p packet) []byte {
	q := &w.query
	q.parse(p.data) // as handle has done
	limit := greatestTCP
	if !p.tcp {
		limit = q.size
	}
	table := w.zone.Table()
	if r := table.Lookup(q.name, q.kind); r.Outcome == discovery.Alias {
		m, err := w.alias(ctx, table, r)
		if err == nil {
			var b []byte
			if b, err = q.pack(m, limit); err == nil {
				w.count.zone.Add(1)
				w.count.rcode(m.Rcode)
				return b
			}
		}
		w.log.Debug("DNS alias", "error", err)
		return w.refuse(nil, servFail)
	}
	e, stale := w.forward.resolve(ctx, q.question())
	if e == nil {
		return w.refuse(nil, servFail)
	}
	w.countAnswer(stale)
	w.count.rcode(int(e.rcode))
	return e.reply(nil, q, limit, w.clock())
}

func (w *worker) countAnswer(stale bool) {
	if stale {
		w.count.stale.Add(1)
	} else {
		w.count.forwarded.Add(1)
	}
}
