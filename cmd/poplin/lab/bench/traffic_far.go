//go:build linux

package bench

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ports of the far end.
const (
	portCount  = ":7000" // TCP: says what arrived so far, for each byte received
	portSink   = ":7001" // TCP: takes everything, then says its SHA-256
	portEcho   = ":7002" // TCP: gives everything back
	portPacket = ":7003" // UDP: counts
)

// Arrived is what the far end has seen so far.
type Arrived struct {
	Packets int64   `json:"packets"`
	CPU     float64 `json:"cpu"` // seconds of the far end's process
}

// Far answers near ends until ctx ends.
func Far(ctx context.Context) error {
	var config net.ListenConfig
	packets, err := config.ListenPacket(ctx, "udp", portPacket)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { packets.Close() })
	defer stop()
	// As large as it may be: what is to be measured is lost elsewhere.
	_ = packets.(*net.UDPConn).SetReadBuffer(4 << 20)
	var arrived atomic.Int64
	failures := make(chan error, 4)
	go func() { failures <- countPackets(packets.(*net.UDPConn), &arrived) }()
	for port, serve := range map[string]func(net.Conn) error{
		portSink: sink,
		portEcho: echo,
		portCount: func(c net.Conn) error {
			one := make([]byte, 1)
			for {
				if _, err := c.Read(one); err != nil {
					return err
				}
				if err := json.NewEncoder(c).Encode(Arrived{arrived.Load(), ownCPU()}); err != nil {
					return err
				}
			}
		},
	} {
		listener, err := config.Listen(ctx, "tcp", port)
		if err != nil {
			return err
		}
		defer context.AfterFunc(ctx, func() { listener.Close() })()
		go func() { failures <- acceptAll(listener, serve) }()
	}
	err = <-failures
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func acceptAll(l net.Listener, serve func(net.Conn) error) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_ = serve(c) // the near end sees it fail
			c.Close()
		}()
	}
}

func countPackets(c *net.UDPConn, arrived *atomic.Int64) error {
	buffer := make([]byte, 2048)
	for {
		if _, _, err := c.ReadFromUDPAddrPort(buffer); err != nil {
			return err
		}
		arrived.Add(1)
	}
}

// sink begins with a byte: 'h' asks for the hash of what follows, anything
// else only for it to be taken.
func sink(c net.Conn) error {
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return err
	}
	sum, buffer := sha256.New(), make([]byte, 256<<10)
	for {
		n, err := c.Read(buffer)
		if first[0] == 'h' {
			sum.Write(buffer[:n])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	_, err := c.Write(sum.Sum(nil))
	return err
}

// echo gives back what it gets.
func echo(c net.Conn) error {
	r, err := newRawConn(c)
	if err != nil {
		return err
	}
	defer r.close()
	buffer := make([]byte, 1<<10)
	for {
		n, err := r.read(buffer)
		if err != nil || n == 0 {
			return err
		}
		if err := r.write(buffer[:n]); err != nil {
			return err
		}
	}
}

// rawConn reads and writes without the runtime's poller and scheduler, which
// would be most of what is measured.
type rawConn struct {
	file *os.File
	fd   uintptr
}

// patienceOfRead is how long a read keeps the runtime from stopping the world.
const patienceOfRead = 20_000 // µs

func newRawConn(c net.Conn) (r rawConn, err error) {
	if r.file, err = c.(*net.TCPConn).File(); err != nil {
		return r, err
	}
	r.fd = r.file.Fd()
	err = errors.Join(unix.SetNonblock(int(r.fd), false),
		unix.SetsockoptTimeval(int(r.fd), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: patienceOfRead}))
	if err != nil {
		r.file.Close()
	}
	return r, err
}

func (r rawConn) close() { r.file.Close() }

// read is like read(2): 0 bytes are the end.
func (r rawConn) read(buffer []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, r.fd, uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN, unix.EINTR:
			runtime.Gosched()
		default:
			return 0, errno
		}
	}
}

func (r rawConn) write(data []byte) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_WRITE, r.fd, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data))); errno != 0 {
		return errno
	}
	return nil
}
