package dns_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery/dns"
)

// TestManyEndpoints asks for a service with 4,000 endpoints: over UDP as many
// as fit and TC, over TCP all, each time another one first.
func TestManyEndpoints(t *testing.T) {
	_, at := started(t, zoneOf(headless("many", 4000)), dns.Settings{})
	const name = "many.default.svc.cluster.local."
	for _, size := range []int{0, 100, 512, 1232, 4096, 65535} {
		m := new(wire.Msg)
		m.SetQuestion(name, wire.TypeA)
		if size > 0 {
			m.SetEdns0(uint16(size), false)
		}
		limit := min(max(size, 512), 4096)
		text, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		reply := datagram(t, at, text)
		var r wire.Msg
		if err := r.Unpack(reply); err != nil {
			t.Fatalf("%d: %v", size, err)
		}
		if len(reply) > limit || len(reply) < limit-16 || !r.Truncated || len(r.Answer) < 25 || (r.IsEdns0() != nil) != (size > 0) {
			t.Errorf("%d: %d bytes, %d answers, truncated %t", size, len(reply), len(r.Answer), r.Truncated)
		}
	}
	first := map[string]bool{}
	for range 3 {
		r := ask(t, "tcp", at, name, wire.TypeA)
		all := map[string]bool{}
		for _, rr := range r.Answer {
			all[rr.(*wire.A).A.String()] = true
		}
		if len(all) != 4000 || r.Truncated {
			t.Errorf("tcp: %d addresses, truncated %t", len(all), r.Truncated)
		}
		first[r.Answer[0].(*wire.A).A.String()] = true
	}
	if len(first) == 1 {
		t.Error("the first address is always the same")
	}
	if r := ask(t, "tcp", at, "1.0.244.10.in-addr.arpa.", wire.TypePTR); len(r.Answer) != 1 || plainText(r.Answer[0]) != "1.0.244.10.in-addr.arpa. 5 IN PTR 10-244-0-1.many.default.svc.cluster.local." {
		t.Errorf("%v", r)
	}
}

// datagram sends one and returns what comes back.
func datagram(t testing.TB, at string, text []byte) []byte {
	t.Helper()
	conn := dial(t, "udp", at)
	if _, err := conn.Write(text); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 65536)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:n]
}

func dial(t testing.TB, network, at string) net.Conn {
	t.Helper()
	return dialFrom(t, network, at, "")
}

// dialFrom connects from an address of this host.
func dialFrom(t testing.TB, network, at, from string) net.Conn {
	t.Helper()
	var dialer net.Dialer
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial(network, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestQueriesOnOneConnection writes ten at once, of which some take asking an
// upstream, byte by byte, and closes its side.
func TestQueriesOnOneConnection(t *testing.T) {
	up := newUpstream(t, address(60))
	server, at := started(t, zoneOf(web()), dns.Settings{Upstreams: []netip.AddrPort{up.address}})
	conn := dial(t, "tcp", at)
	var all []byte
	for i := range 10 {
		m := new(wire.Msg)
		m.SetQuestion([]string{"web.default.svc.cluster.local.", "example.com.", "nobody.svc.cluster.local."}[i%3], wire.TypeA)
		m.Id = uint16(i)
		text, _ := m.Pack()
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(text))), text...)
	}
	for _, b := range all {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var seen []int
	for range 10 {
		r := readAnswer(t, conn)
		seen = append(seen, int(r.Id))
		if want := []int{1, 1, 0}[r.Id%3]; len(r.Answer) != want {
			t.Errorf("%v", r)
		}
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the answers: %v", err)
	}
	slices.Sort(seen)
	if !slices.Equal(seen, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("answers to %v", seen)
	}
	if n := server.Stats().TCP; n != 10 {
		t.Errorf("%d counted", n)
	}
}

func readAnswer(t testing.TB, conn net.Conn) *wire.Msg {
	t.Helper()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, text); err != nil {
		t.Fatal(err)
	}
	m := new(wire.Msg)
	if err := m.Unpack(text); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSlowClientsBlockNobody has clients that say nothing, or half of a
// query, up to every limit, and asks in between.
func TestSlowClientsBlockNobody(t *testing.T) {
	settings := dns.Settings{Connections: 12, ConnectionsPerClient: 4}
	server, at := started(t, zoneOf(web()), settings)
	const name = "web.default.svc.cluster.local."
	check := func() {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			if r := ask(t, network, at, name, wire.TypeA); len(r.Answer) != 1 {
				t.Errorf("%v", r)
			}
		}
	}
	for client := 2; client < 5; client++ {
		from := netip.AddrFrom4([4]byte{127, 0, 0, byte(client)}).String()
		for i := range 4 {
			conn := dialFrom(t, "tcp", at, from)
			if _, err := conn.Write([][]byte{{}, {0}, {0, 40}, {0, 40, 1, 2, 3}}[i]); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all are counted", func() bool { return server.Stats().Connections == 4*(client-1) })
		// One more of this client is closed at once.
		more := dialFrom(t, "tcp", at, from)
		if n, err := more.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !isReset(err) {
			t.Errorf("%s has more connections than it may: %v", from, err)
		}
	}
	check() // in place of the one that is idle for longest
	if n := server.Stats().Connections; n > settings.Connections {
		t.Errorf("%d connections", n)
	}
}

func isReset(err error) bool {
	var call *os.SyscallError
	return errors.As(err, &call)
}

// TestClientThatDoesNotRead asks for a lot and leaves it in the buffers.
func TestClientThatDoesNotRead(t *testing.T) {
	_, at := started(t, zoneOf(web(), headless("many", 4000)), dns.Settings{})
	text := packed(t, "many.default.svc.cluster.local.", 0)
	query := append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
	conn := dial(t, "tcp", at)
	if err := conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := conn.Write(slices.Repeat(query, 100)); err != nil {
			break // our side is full, too
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		if r := ask(t, network, at, "web.default.svc.cluster.local.", wire.TypeA); len(r.Answer) != 1 {
			t.Errorf("%v", r)
		}
	}
}

// malformed are packets, and the code of the answer; -1 for none.
var malformed = []struct {
	name   string
	change func(p []byte) []byte
	rcode  int
}{
	{"nothing", func(p []byte) []byte { return nil }, -1},
	{"half a header", func(p []byte) []byte { return p[:7] }, -1},
	{"an answer", func(p []byte) []byte { p[2] |= 0x80; return p }, -1},
	{"an answer that is broken", func(p []byte) []byte { p[2] |= 0x80; return p[:13] }, -1},
	{"only a header", func(p []byte) []byte { return p[:12] }, wire.RcodeFormatError},
	{"no question", func(p []byte) []byte { p[5] = 0; return p[:12] }, wire.RcodeFormatError},
	{"two questions", func(p []byte) []byte { p[5] = 2; return append(p, p[12:]...) }, wire.RcodeFormatError},
	{"65535 questions", func(p []byte) []byte { p[4], p[5] = 255, 255; return p }, wire.RcodeFormatError},
	{"an answer in the query", func(p []byte) []byte { p[7] = 1; return p }, wire.RcodeFormatError},
	{"an authority in the query", func(p []byte) []byte { p[9] = 1; return p }, wire.RcodeFormatError},
	{"an additional record that is not there", func(p []byte) []byte { p[11] = 1; return p }, wire.RcodeFormatError},
	{"a name without an end", func(p []byte) []byte { return p[:20] }, wire.RcodeFormatError},
	{"no type", func(p []byte) []byte { return p[:len(p)-3] }, wire.RcodeFormatError},
	{"more behind", func(p []byte) []byte { return append(p, 0) }, wire.RcodeFormatError},
	{"a pointer", func(p []byte) []byte { return append(p[:12], 0xc0, 12, 0, 1, 0, 1) }, wire.RcodeFormatError},
	{"a label of an unknown kind", func(p []byte) []byte { p[12] = 0x45; return p }, wire.RcodeFormatError},
	{"a name that is too long", func(p []byte) []byte {
		p = append(p[:12], slices.Repeat([]byte{1, 'a'}, 128)...)
		return append(p, 0, 0, 1, 0, 1)
	}, wire.RcodeFormatError},
	{"type 0", func(p []byte) []byte { p[len(p)-3] = 0; return p }, wire.RcodeFormatError},
	{"type OPT", func(p []byte) []byte { p[len(p)-3] = 41; return p }, wire.RcodeFormatError},
	{"type MAILA", func(p []byte) []byte { p[len(p)-3] = 254; return p }, wire.RcodeNotImplemented},
	{"IQUERY", func(p []byte) []byte { p[2] = 1 << 3; return p }, wire.RcodeNotImplemented},
	{"STATUS", func(p []byte) []byte { p[2] = 2 << 3; return p }, wire.RcodeNotImplemented},
	{"NOTIFY with a record", func(p []byte) []byte { p[2], p[7] = 4<<3, 1; return p }, wire.RcodeNotImplemented},
	{"UPDATE", func(p []byte) []byte { p[2], p[5] = 5<<3, 0; return p }, wire.RcodeNotImplemented},
	{"opcode 15", func(p []byte) []byte { p[2] = 15 << 3; return p }, wire.RcodeNotImplemented},
	{"AXFR", func(p []byte) []byte { p[len(p)-3] = 252; return p }, wire.RcodeRefused},
	{"IXFR with its record", func(p []byte) []byte { p[len(p)-3], p[9] = 251, 1; return append(p, 0xc0, 12) }, wire.RcodeRefused},
	{"class CH", func(p []byte) []byte { p[len(p)-1] = 3; return p }, wire.RcodeRefused},
	{"class NONE", func(p []byte) []byte { p[len(p)-1] = 254; return p }, wire.RcodeRefused},
	{"class ANY", func(p []byte) []byte { p[len(p)-1] = 255; return p }, wire.RcodeRefused},
	{"EDNS", func(p []byte) []byte { p[11] = 1; return append(p, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0) }, wire.RcodeSuccess},
	{"EDNS twice", func(p []byte) []byte {
		p[11] = 2
		return append(p, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0)
	}, wire.RcodeFormatError},
	{"EDNS with a name", func(p []byte) []byte { p[11] = 1; return append(p, 1, 'a', 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0) }, wire.RcodeFormatError},
	{"EDNS that is cut", func(p []byte) []byte { p[11] = 1; return append(p, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 9) }, wire.RcodeFormatError},
	{"EDNS of another version", func(p []byte) []byte { p[11] = 1; return append(p, 0, 0, 41, 16, 0, 0, 1, 0, 0, 0, 0) }, wire.RcodeBadVers},
	{"a cookie", func(p []byte) []byte {
		p[11] = 1
		return append(p, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8)
	}, wire.RcodeSuccess},
	{"a signature behind EDNS", func(p []byte) []byte {
		p[11] = 2
		return append(p, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 250, 0, 255, 0, 0, 0, 0, 0, 1, 9)
	}, wire.RcodeSuccess},
	{"nothing wrong", func(p []byte) []byte { return p }, wire.RcodeSuccess},
}

func TestMalformedPackets(t *testing.T) {
	server, at := started(t, zoneOf(web()), dns.Settings{})
	handle := dns.Handle(server)
	good := packed(t, "web.default.svc.cluster.local.", 0)
	for _, c := range malformed {
		p := c.change(slices.Clone(good))
		reply := handle(p)
		if c.rcode < 0 {
			if reply != nil {
				t.Errorf("%s is answered: %x", c.name, reply)
			}
			continue
		}
		var m wire.Msg
		if err := m.Unpack(reply); err != nil || !m.Response || m.Id != binary.BigEndian.Uint16(p) {
			t.Errorf("%s: %v: %x", c.name, err, reply)
			continue
		}
		rcode := m.Rcode
		if opt := m.IsEdns0(); opt != nil {
			rcode = m.Rcode&15 | opt.ExtendedRcode()&^15
		}
		if rcode != c.rcode {
			t.Errorf("%s: %s, want %s", c.name, wire.RcodeToString[rcode], wire.RcodeToString[c.rcode])
		}
		// The same through a socket, and between others.
		if got := datagram(t, at, p); len(got) != len(reply) {
			t.Errorf("%s: %d bytes through a socket, else %d", c.name, len(got), len(reply))
		}
	}
}

// FuzzHandle has packets of any kind: whatever comes, the answer is one that
// others can read, to the same question, and is not larger than was asked for.
func FuzzHandle(f *testing.F) {
	for _, size := range []uint16{0, 4096} {
		for _, name := range []string{"web.default.svc.cluster.local.", "many.default.svc.cluster.local.", "1.0.244.10.in-addr.arpa.", "1.0.0.ip6.arpa.", "example.com.", "."} {
			for _, c := range malformed {
				f.Add(c.change(slices.Clone(packed(f, name, size))))
			}
		}
	}
	server := dns.New(dns.Options{Zone: zoneOf(web(), headless("many", 400), external("else", "example.com"))})
	handle := dns.Handle(server)
	f.Fuzz(func(t *testing.T, p []byte) {
		reply := handle(p)
		if reply == nil {
			return
		}
		var m, q wire.Msg
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("%v: %x", err, reply)
		}
		if !m.Response || m.Id != binary.BigEndian.Uint16(p) || p[2]&0x80 != 0 {
			t.Fatalf("not an answer to this: %v", &m)
		}
		limit := 512
		if q.Unpack(p) == nil {
			if o := q.IsEdns0(); o != nil {
				limit = min(max(int(o.UDPSize()), 512), 4096)
			}
			if len(m.Question) == 1 && len(q.Question) > 0 && m.Question[0] != q.Question[0] {
				t.Fatalf("%v for %v", m.Question[0], q.Question[0])
			}
		} else {
			limit = 4096
		}
		if len(reply) > limit {
			t.Fatalf("%d bytes, %d are allowed", len(reply), limit)
		}
	})
}
