//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// talkSame keeps sending datagrams from one port, and writes a line to a file
// whenever somebody else answers than before, until the file FILE.end exists.
func talkSame(address, file string) error {
	const pause, patience = 50 * time.Millisecond, 300 * time.Millisecond
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	last := ""
	buffer := make([]byte, 1500)
	for ; !exists(file + ".end"); time.Sleep(pause) {
		who := "silence"
		_, err := fmt.Fprintln(conn, "hello")
		if err == nil {
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			var n int
			if n, err = conn.Read(buffer); err == nil {
				who, _, _ = strings.Cut(string(buffer[:n]), " ")
			}
		}
		// Sending tells of the refusal of the datagram before, or of this
		// one's on the host that refuses it.
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			who = "refused"
		}
		if who != last {
			last = who
			if _, err := fmt.Fprintln(out, who); err != nil {
				return err
			}
		}
	}
	return nil
}
