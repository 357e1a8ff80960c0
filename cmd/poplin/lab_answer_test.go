//go:build linux

package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
)

// answer is a program for scripts: answer NAME PORT has a host without a
// daemon answer on a port, TCP and UDP, as the lab's servers do in pods.
func answer() {
	name, port := os.Args[1], os.Args[2]
	text := func(client string) string {
		from, _ := netip.ParseAddrPort(client) // what the kernel says is an address
		return fmt.Sprintf("%s %s\n", name, from.Addr().Unmap())
	}
	packets, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		buffer := make([]byte, 1500)
		for {
			_, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo([]byte(text(from.String())), from) // the client waits for it, and fails
		}
	}()
	err = http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, text(r.RemoteAddr))
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
