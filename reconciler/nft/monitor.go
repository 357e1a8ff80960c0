package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// monitorBuffer is the size of the socket's receive buffer in bytes: room for
// what others may change between two wake-ups.
const monitorBuffer = 4 << 20

// monitor hears what others change in our tables. Its socket queues events
// from the moment it is made, so that whoever reads the tables can ask
// afterwards whether what was read still holds. Any goroutine may read it.
//
// The generation counter of nf_tables would not do: it is one per network
// namespace, and other agents move it all the time.
type monitor struct {
	conn *netlink.Conn
	raw  syscall.RawConn

	mu     sync.Mutex
	buffer []byte
	own    uint32                     // netlink port of our own commits; 0: none
	stale  map[reconciler.Family]bool // changed by somebody else
}

// newMonitor starts listening in a namespace (0: the current one).
func newMonitor(netns int) (*monitor, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return nil, fmt.Errorf("nftables events: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = conn.SetReadBuffer(monitorBuffer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nftables events: %w", err), conn.Close())
	}
	return &monitor{conn: conn, raw: raw, buffer: make([]byte, 1<<16), stale: map[reconciler.Family]bool{}}, nil
}

// ignore makes the kernel leave out the events of commits from a netlink
// port: a large plan of ours would overflow the buffer.
func (m *monitor) ignore(port uint32) error {
	m.mu.Lock()
	m.own = port
	m.mu.Unlock()
	// The filter loads words in network byte order, the header's are the host's.
	word := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, port))
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 4}, // nlmsg_pid
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: word, SkipTrue: 1},
		bpf.RetConstant{Val: 1<<32 - 1},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return fmt.Errorf("nftables events: %w", err)
	}
	if err := m.conn.SetBPF(program); err != nil {
		return fmt.Errorf("nftables events: %w", err)
	}
	return nil
}

// heed ends ignore: somebody else may get the port next.
func (m *monitor) heed() error {
	m.mu.Lock()
	m.own = 0
	m.mu.Unlock()
	if err := m.conn.RemoveBPF(); err != nil {
		return fmt.Errorf("nftables events: %w", err)
	}
	return nil
}

// drain takes in the events that have arrived and reports whether one of
// them makes a family stale that was not.
func (m *monitor) drain() (news bool, err error) {
	if e := m.raw.Control(func(fd uintptr) { news, _, err = m.receive(int(fd)) }); e != nil {
		err = e
	}
	return news, err
}

// wait blocks until there are events, takes them in, and reports whether one
// of them makes a family stale that was not.
func (m *monitor) wait() (news bool, err error) {
	if e := m.raw.Read(func(fd uintptr) (done bool) {
		news, done, err = m.receive(int(fd))
		return done || err != nil
	}); e != nil {
		err = e
	}
	return news, err
}

// receive reads until nothing is left; any is set if there was something.
func (m *monitor) receive(fd int) (news, any bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		n, _, err := unix.Recvfrom(fd, m.buffer, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return news, any, nil
		case errors.Is(err, unix.ENOBUFS), err == nil && n > len(m.buffer):
			// Events were lost: anything may have changed.
			any = true
			for _, f := range families() {
				news = m.mark(f) || news
			}
		case err != nil:
			return news, any, fmt.Errorf("nftables events: %w", err)
		default:
			any = true
			news = m.take(m.buffer[:n]) || news
		}
	}
}

// take looks at the messages of one datagram. Every kind of event names its
// table in its first attribute.
func (m *monitor) take(b []byte) (news bool) {
	for len(b) >= unix.NLMSG_HDRLEN+header {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN+header || length > len(b) {
			break
		}
		kind := binary.NativeEndian.Uint16(b[4:])
		port := binary.NativeEndian.Uint32(b[12:])
		if kind != uint16(nftablesType(unix.NFT_MSG_NEWGEN)) && (port != m.own || port == 0) {
			body := b[unix.NLMSG_HDRLEN:length]
			table, _ := find(body[header:], unix.NFTA_TABLE_NAME)
			if table.text() == tableName {
				for _, f := range families() {
					if byte(family(f)) == body[0] {
						news = m.mark(f) || news
					}
				}
			}
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return news
}

// mark notes that a family's table was changed. The lock is held.
func (m *monitor) mark(f reconciler.Family) (news bool) {
	news = !m.stale[f]
	m.stale[f] = true
	return news
}

// forget marks everything as changed: what is there is not known.
func (m *monitor) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range families() {
		m.mark(f)
	}
}

// changed lists the families whose tables were changed and not read since.
func (m *monitor) changed() []reconciler.Family {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []reconciler.Family
	for _, f := range families() {
		if m.stale[f] {
			out = append(out, f)
		}
	}
	return out
}

// clear notes that the tables of families are about to be read. Those of
// others may have changed since somebody asked which: Run listens, too.
func (m *monitor) clear(list []reconciler.Family) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range list {
		delete(m.stale, f)
	}
}

func (m *monitor) close() error { return m.conn.Close() }
