package udp

import "net/netip"

// Datagram is the payload of one UDP datagram with the far end.
type Datagram struct {
	Data []byte
	// Addr is where a datagram came from, or where it goes to. An IPv4
	// address is never in its IPv6-mapped form.
	Addr netip.AddrPort
}

// Conn is the side of the tunnel that faces the underlay: a UDP socket.
//
// The owner of a Conn closes it. A [Tunnel] owns the ones that it is given.
// Read and Write may run at the same time, each in one goroutine at a time.
type Conn interface {
	// Local is the address and port that the socket is bound to.
	Local() netip.AddrPort
	// Read blocks until there is a datagram, then fills as many elements of
	// the batch as datagrams are at hand and returns their number, at least
	// one unless there is an error. Data is used up to its capacity and gets
	// the length of what was received; of a datagram that is longer, the rest
	// is lost. The buffers stay the caller's. Every error is final.
	Read(batch []Datagram) (n int, err error)
	// Write sends the datagrams in order, waits for room in the socket's
	// buffer, and returns how many were sent. If that is not all of them, err
	// says why batch[n] was refused; a caller goes on behind it, unless err
	// is net.ErrClosed. The Conn keeps no reference to the data.
	Write(batch []Datagram) (n int, err error)
	// Close makes pending and later calls fail with net.ErrClosed. Closing
	// twice is allowed.
	Close() error
}
