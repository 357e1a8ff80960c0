package udp

import (
	"net/netip"
	"slices"
)

// Datagram is the payload of a UDP datagram with the far end, or those of
// several that follow each other.
type Datagram struct {
	Data []byte
	// Segment, if it is not 0, is the size in bytes of each of several
	// datagrams in Data, of which the last may be shorter.
	Segment int
	// Addr is where a datagram came from, or where it goes to. An IPv4
	// address is never in its IPv6-mapped form.
	Addr netip.AddrPort
	// Flow is a number that datagrams of one inner flow have in common when
	// they are sent. A Conn may use it to choose the source port.
	Flow uint8
}

// Segments gives the datagrams that a Datagram stands for, at least one.
func Segments(d Datagram) [][]byte {
	if d.Segment == 0 || len(d.Data) <= d.Segment {
		return [][]byte{d.Data}
	}
	return slices.Collect(slices.Chunk(d.Data, d.Segment))
}

// Limits of what is sent as one datagram with segments.
const (
	maxSegments = 64    // UDP_MAX_SEGMENTS (include/linux/udp.h before 6.9)
	maxPayload  = 65507 // bytes: 65,535 less the headers of IPv4 and UDP
)

// Conn is the side of the tunnel that faces the underlay: UDP sockets at one
// address and port.
//
// It has lanes, which can be used at the same time. Datagrams of one far end,
// address and port, come from one lane.
//
// The owner of a Conn closes it. A [Tunnel] owns the ones that it is given.
// Read and Write may run at the same time, each for one lane in one goroutine
// at a time.
type Conn interface {
	// Local is the address and port that the sockets are bound to.
	Local() netip.AddrPort
	// Lanes is the number of lanes, at least one. All of them must be read.
	Lanes() int
	// Read blocks until there is a datagram, then fills as many elements of
	// the batch as are at hand and returns their number, at least one unless
	// there is an error. Data is used up to its capacity and gets the length
	// of what was received; of what is longer, the rest is lost. The buffers
	// stay the caller's. Every error is final.
	Read(lane int, batch []Datagram) (n int, err error)
	// Write sends the datagrams in order, waits for room in the socket's
	// buffer, and returns how many were sent. If that is not all of them, err
	// says why batch[n], or the rest of its segments, was refused; a caller
	// goes on behind it, unless err is net.ErrClosed. The Conn keeps no
	// reference to the data.
	Write(lane int, batch []Datagram) (n int, err error)
	// Close makes pending and later calls fail with net.ErrClosed. Closing
	// twice is allowed.
	Close() error
}
