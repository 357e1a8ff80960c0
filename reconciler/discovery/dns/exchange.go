package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// exchange sends a message to a resolver and returns the answer. Each message
// has a socket of its own, so that the kernel picks its port at random, and a
// random ID: who cannot see it cannot answer it (RFC 5452). What comes that
// does not answer it is passed over.
func exchange(ctx context.Context, to netip.AddrPort, m *dns.Msg) (*dns.Msg, error) {
	m.Id = uint16(rand.Uint32())
	wire, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", to, err)
	}
	answer, err := exchangeOver(ctx, "udp", to, m, wire)
	if err == nil && answer.Truncated {
		answer, err = exchangeOver(ctx, "tcp", to, m, wire)
	}
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", to, err)
	}
	return answer, nil
}

func exchangeOver(ctx context.Context, network string, to netip.AddrPort, m *dns.Msg, wire []byte) (*dns.Msg, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	read := readDatagram
	if network == "tcp" {
		read = readStream
		wire = append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)
	}
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buffer := make([]byte, greatestSize)
	for {
		text, err := read(conn, buffer)
		if err != nil {
			return nil, err
		}
		answer := new(dns.Msg)
		if len(text) < headerSize || binary.BigEndian.Uint16(text) != m.Id || answer.Unpack(text) != nil && !answer.Truncated {
			continue
		}
		if answer.Response && answer.Opcode == dns.OpcodeQuery && answersTo(answer, m.Question[0]) {
			return answer, nil
		}
	}
}

// answersTo reports whether a message is about a question. Only one that says
// what is wrong may be without.
func answersTo(m *dns.Msg, q dns.Question) bool {
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	a := m.Question[0]
	return len(m.Question) == 1 && a.Qtype == q.Qtype && a.Qclass == q.Qclass && strings.EqualFold(a.Name, q.Name)
}

func readDatagram(conn net.Conn, buffer []byte) ([]byte, error) {
	n, err := conn.Read(buffer)
	return buffer[:n], err
}

func readStream(conn net.Conn, buffer []byte) ([]byte, error) {
	if _, err := io.ReadFull(conn, buffer[:2]); err != nil {
		return nil, err
	}
	text := make([]byte, binary.BigEndian.Uint16(buffer))
	_, err := io.ReadFull(conn, text)
	return text, err
}
