package udp

// Burst is what a device gives: an IP packet, or several of one flow as one
// that is to be cut.
type Burst struct {
	Offload Offload
	Data    []byte // without the offload header
}

// maxBurst is the size in bytes of the largest burst: an IPv6 header and a
// payload of 65,535 bytes, rounded up.
const maxBurst = 65535 + 64

// Device is the side of the tunnel that faces the kernel: a TUN device that
// gives and takes raw IP packets.
//
// It has lanes, which can be used at the same time. Packets of one flow come
// from one lane, and one that is to keep its order goes to one.
//
// The owner of a Device closes it. A [Tunnel] owns the one it is made with.
// Read and Write may run at the same time; Read is called for a lane by one
// goroutine at a time, Write by any number.
type Device interface {
	// Name is the name of the interface, for messages.
	Name() string
	// Lanes is the number of lanes, at least one. All of them must be read.
	Lanes() int
	// Read blocks until there is a packet, then fills as many of the bursts
	// as are at hand and as room may hold, and returns their number, at least
	// one unless there is an error. Their data is put into room, which has at
	// least 65,600 bytes and stays the caller's: the Device keeps no reference
	// after Read has returned. Every error is final: the device was closed
	// (net.ErrClosed) or deleted.
	Read(lane int, room []byte, bursts []Burst) (n int, err error)
	// Write hands a packet to the kernel, or several as one that is to be cut.
	// Its bytes are those of the parts, one after the other, of which there
	// are at most 128. Write blocks at most until they are copied.
	Write(lane int, o Offload, parts [][]byte) error
	// Close detaches from the device and makes pending and later calls fail
	// with net.ErrClosed. Closing twice is allowed. A persistent device stays,
	// with its addresses and routes.
	Close() error
}
