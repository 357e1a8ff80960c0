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
  forge inner COUNT TO SOURCE DESTINATION   packets with a datagram to DESTINATION, ADDRESS:PORT, as if from SOURCE
  forge spoofed COUNT TO OUTER SOURCE DESTINATION
                                            the same, in packets as if from the address OUTER
  forge vxlan COUNT TO MAC SOURCE DESTINATION
                                            the same, in frames to MAC in the VXLAN network 1; of either family
  forge plain COUNT VIA SOURCE DESTINATION  the same, as they are; VIA is not looked at
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
		case kind == "vxlan" && len(rest) == 3:
			err = sendUDP(to, vxlanFrame(rest[0], forgedPacket(rest[1], rest[2])))
		case kind == "plain" && len(rest) == 2:
			err = sendRaw(netip.MustParseAddrPort(rest[1]).Addr(), forgedPacket(rest[0], rest[1]))
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

// vxlanFrame puts a packet into an Ethernet frame and that into the network 1
// (RFC 7348).
func vxlanFrame(to string, packet []byte) []byte {
	mac, err := net.ParseMAC(to)
	if err != nil {
		panic(err)
	}
	b := append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, mac...)
	b = append(b, 2, 0, 0, 0, 0, 1) // from a locally administered address
	kind := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	return append(binary.BigEndian.AppendUint16(b, kind), packet...)
}

// forgedPacket is a packet with a datagram.
func forgedPacket(source, destination string) []byte {
	to := netip.MustParseAddrPort(destination)
	datagram := udpDatagram(4000, to.Port(), []byte("forged\n"))
	if to.Addr().Is6() {
		return ipv6Packet(netip.MustParseAddr(source), to.Addr(), datagram)
	}
	return ipv4Packet(netip.MustParseAddr(source), to.Addr(), datagram)
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

func ipv6Packet(source, destination netip.Addr, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, unix.IPPROTO_UDP, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], source.AsSlice())
	copy(b[24:], destination.AsSlice())
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
	return sendRaw(target.Addr(), ipv4Packet(netip.MustParseAddr(outer), target.Addr(), udpDatagram(target.Port(), target.Port(), packet)))
}

// sendRaw sends a packet with the header that it has.
func sendRaw(to netip.Addr, packet []byte) error {
	family, target := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.As16()})
	if to.Is4() {
		family, target = unix.AF_INET, &unix.SockaddrInet4{Addr: to.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, packet, 0, target)
}
