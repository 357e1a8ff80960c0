package overlay

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is where memberlist calls back, from its own loops and with its
// locks held: everything here copies, hands over and returns.
type delegate struct{ n *network }

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(int) []byte { return d.n.meta.encode() }

// NotifyMsg implements memberlist.Delegate.
func (d *delegate) NotifyMsg(data []byte) { d.n.inbox.put(evMessage(bytes.Clone(data))) }

// GetBroadcasts implements memberlist.Delegate.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.n.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate.
func (d *delegate) LocalState(bool) []byte {
	v := d.n.view.Load()
	return encode(kindState, state{From: d.n.options.Node, Have: v.have, Tombstones: v.tombstones})
}

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState(data []byte, _ bool) { d.NotifyMsg(data) }

// NotifyAlive implements memberlist.AliveDelegate: it refuses who is not in
// the roster, where there is one, and whose address is not allowed.
func (d *delegate) NotifyAlive(node *memberlist.Node) error {
	if node.Name == d.n.options.Node {
		return nil
	}
	s := d.n.view.Load().settings
	if _, err := decodeMeta(node.Meta); err != nil {
		d.n.inbox.count("member: meta")
		return err
	}
	if !s.inRoster(node.Name) {
		d.n.inbox.count("member: not in the roster")
		return fmt.Errorf("%s is not in the roster", node.Name)
	}
	if addr := addrPort(node.Addr, node.Port).Addr(); !s.allows(addr) {
		d.n.inbox.count("member: address not allowed")
		return fmt.Errorf("%s is not allowed", addr)
	}
	return nil
}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(node *memberlist.Node) {
	d.n.members.Add(1)
	d.member(node, true)
}

// NotifyLeave implements memberlist.EventDelegate.
func (d *delegate) NotifyLeave(node *memberlist.Node) {
	d.n.members.Add(-1)
	d.member(node, false)
}

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(node *memberlist.Node) { d.member(node, true) }

func (d *delegate) member(node *memberlist.Node, up bool) {
	m, err := decodeMeta(node.Meta)
	if err != nil && up {
		return
	}
	d.n.inbox.put(evMember{node.Name, addrPort(node.Addr, node.Port), m, up})
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	m, err := decodeMeta(other.Meta)
	if err != nil {
		return
	}
	d.n.inbox.put(evConflict{existing.Name, addrPort(existing.Addr, existing.Port), addrPort(other.Addr, other.Port), m})
}

// AckPayload implements memberlist.PingDelegate.
func (d *delegate) AckPayload() []byte {
	v := d.n.view.Load()
	return encodeVersion(v.generation, v.version)
}

// NotifyPingComplete implements memberlist.PingDelegate. It is called for
// answers over UDP only.
func (d *delegate) NotifyPingComplete(other *memberlist.Node, _ time.Duration, payload []byte) {
	generation, version, ok := decodeVersion(payload)
	if d.n.pings.heard(other.Name, generation, version) && ok {
		d.n.inbox.put(evVersion{other.Name, generation, version})
	}
}

// pings remembers who answered a probe over UDP, and with which version.
type pings struct {
	mu   sync.Mutex
	last map[string]ping
}

type ping struct {
	at                  time.Time
	generation, version uint64
}

// heard notes an answer and reports whether its version is another than the
// last time.
func (p *pings) heard(name string, generation, version uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[string]ping{}
	}
	before := p.last[name]
	p.last[name] = ping{time.Now(), generation, version}
	return before.generation != generation || before.version != version
}

// when gives when a node answered last; zero: never.
func (p *pings) when(name string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last[name].at
}
