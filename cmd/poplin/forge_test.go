//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// forgeUsage is that of forge, which sends what nobody should accept. COUNT is
// a number of packets; TO is ADDRESS:PORT of a tunnel or of gossip.
const forgeUsage = `usage:
  forge inner COUNT TO SOURCE DESTINATION   IPv4 packets with a datagram to DESTINATION, ADDRESS:PORT, as if from SOURCE
  forge spoofed COUNT TO OUTER SOURCE DESTINATION
                                            the same, in packets as if from the address OUTER
  forge truncated COUNT TO                  packets that are shorter than they say
  forge random COUNT TO                     random bytes of random lengths, as datagrams
  forge stream COUNT TO                     random bytes, over a TCP connection each`

func forge() {
	if err := forgeAll(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "forge:", err)
		os.Exit(1)
	}
}

func forgeAll(args []string) error {
	if len(args) < 3 {
		return errors.New(forgeUsage)
	}
	kind, count, to, rest := args[0], number(args[1]), args[2], args[3:]
	random := rand.NewChaCha8([32]byte{1}) // the same bytes each time
	for i := range count {
		var err error
		switch {
		case kind == "inner" && len(rest) == 2:
			err = sendUDP(to, forgedPacket(rest[0], rest[1]))
		case kind == "spoofed" && len(rest) == 3:
			err = sendSpoofed(to, rest[0], forgedPacket(rest[1], rest[2]))
		case kind == "truncated" && len(rest) == 0:
			whole := forgedPacket("192.0.2.99", "192.0.2.98:9")
			err = sendUDP(to, whole[:1+i%(len(whole)-1)])
		case kind == "random" && len(rest) == 0:
			err = sendUDP(to, randomBytes(random))
		case kind == "stream" && len(rest) == 0:
			err = sendTCP(to, randomBytes(random))
		default:
			err = errors.New(forgeUsage)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func randomBytes(random *rand.ChaCha8) []byte {
	b := make([]byte, 1+random.Uint64()%1400)
	_, _ = random.Read(b) // never fails
	return b
}

// forgedPacket is an IPv4 packet with a datagram.
func forgedPacket(source, destination string) []byte {
	to := netip.MustParseAddrPort(destination)
	return ipv4Packet(netip.MustParseAddr(source), to.Addr(), udpDatagram(4000, to.Port(), []byte("forged\n")))
}

// udpDatagram has no checksum, which IPv4 allows (RFC 768).
func udpDatagram(from, to uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b[0:], from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

func ipv4Packet(source, destination netip.Addr, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], source.AsSlice())
	copy(b[16:], destination.AsSlice())
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return append(b, payload...)
}

func sendUDP(to string, packet []byte) error { return sendOver("udp4", to, packet) }

// sendTCP leaves it to the other side to end the connection early.
func sendTCP(to string, bytes []byte) error {
	err := sendOver("tcp4", to, bytes)
	if errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

func sendOver(network, to string, bytes []byte) error {
	conn, err := net.Dial(network, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(bytes)
	return err
}

// sendSpoofed writes the outer header too.
func sendSpoofed(to, outer string, packet []byte) error {
	target := netip.MustParseAddrPort(to)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	whole := ipv4Packet(netip.MustParseAddr(outer), target.Addr(), udpDatagram(target.Port(), target.Port(), packet))
	return unix.Sendto(fd, whole, 0, &unix.SockaddrInet4{Addr: target.Addr().As4()})
}
