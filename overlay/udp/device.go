package udp

// Device is the side of the tunnel that faces the kernel: a TUN device that
// gives and takes raw IP packets.
//
// The owner of a Device closes it. A [Tunnel] owns the one it is made with.
// Read and Write may run at the same time; Read is called by one goroutine at
// a time, Write by any number.
type Device interface {
	// Name is the name of the interface, for messages.
	Name() string
	// Read blocks until there is a packet, then fills as many of the buffers
	// as packets are at hand and returns their number, at least one unless
	// there is an error. A buffer is used up to its capacity and gets the
	// length of its packet. The buffers stay the caller's: the Device keeps
	// no reference after Read has returned. Every error is final: the device
	// was closed (net.ErrClosed) or deleted.
	Read(packets [][]byte) (n int, err error)
	// Write hands the packets to the kernel in order, blocks at most until
	// they are copied, and returns how many were taken. If that is not all of
	// them, err says why packets[n] was refused; a caller goes on behind it.
	Write(packets [][]byte) (n int, err error)
	// Close detaches from the device and makes pending and later calls fail
	// with net.ErrClosed. Closing twice is allowed. A persistent device stays,
	// with its addresses and routes.
	Close() error
}
