//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
)

// notified is a service manager's end of NOTIFY_SOCKET: notified SOCKET FILE
// writes each message to FILE, in lines, until it is killed.
func notified() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: notified SOCKET FILE")
		os.Exit(1)
	}
	if err := takeNotes(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "notified:", err)
		os.Exit(1)
	}
}

func takeNotes(socket, path string) error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	message := make([]byte, 4096)
	for {
		n, err := conn.Read(message)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(file, "%s\n", message[:n]); err != nil {
			return err
		}
	}
}
