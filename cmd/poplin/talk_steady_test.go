//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// talkEcho sends each datagram back, until it is killed.
func talkEcho(address string) error {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := enlarge(conn.(*net.UDPConn)); err != nil {
		return err
	}
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(buffer[:n], from); err != nil {
			return err
		}
	}
}

// talkSteady sends numbered datagrams at a rate a second, whether they are
// answered or not, until the file FILE.end exists, and writes to FILE how many
// never came back, and in how many runs of successive numbers.
func talkSteady(rate int, address, file string) error {
	const most, last = 1 << 20, time.Second // datagrams, wait for the last answer
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := enlarge(conn.(*net.UDPConn)); err != nil {
		return err
	}
	back := make([]atomic.Bool, most)
	ended := make(chan error, 1)
	go func() { ended <- receiveNumbers(conn, back) }()
	sent := 0
	message := make([]byte, 100)
	for start := time.Now(); !exists(file+".end") && sent < most; time.Sleep(time.Millisecond / 2) {
		for due := int(time.Since(start) * time.Duration(rate) / time.Second); sent < min(due, most); sent++ {
			binary.BigEndian.PutUint32(message, uint32(sent))
			_, _ = conn.Write(message) // one that is refused is one that is lost
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(last)); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	lost, runs := missing(back[:sent])
	return os.WriteFile(file, fmt.Appendf(nil, "%d sent, %d lost in %d runs\n", sent, lost, runs), 0o644)
}

// enlarge gives a socket a receive buffer for all that was held up somewhere
// for a second: what it has no room for would seem to be lost on the way.
func enlarge(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	})
	return errors.Join(err, refused)
}

// receiveNumbers notes which datagrams come back, until the deadline. An error
// of the one before, which was refused, is none.
func receiveNumbers(conn net.Conn, back []atomic.Bool) error {
	buffer := make([]byte, 1500)
	for {
		n, err := conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil || n < 4 {
			continue
		}
		if number := binary.BigEndian.Uint32(buffer); int(number) < len(back) {
			back[number].Store(true)
		}
	}
}

func missing(back []atomic.Bool) (lost, runs int) {
	before := true
	for i := range back {
		here := back[i].Load()
		if !here {
			lost++
			if before {
				runs++
			}
		}
		before = here
	}
	return lost, runs
}
