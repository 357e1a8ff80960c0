package listen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

func running(t *testing.T) *Listeners {
	t.Helper()
	l := New(nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return l
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// freePort is an address on loopback that nobody listens on.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func accepts(at netip.AddrPort) bool {
	c, err := net.Dial("tcp", at.String())
	if err == nil {
		c.Close()
	}
	return err == nil
}

func check(at netip.AddrPort, ready int) Socket {
	return Socket{At: at, Service: "default/web", HealthCheck: &HealthCheck{Namespace: "default", Name: "web", Ready: ready, Healthy: true}}
}

// ask gives status, weight and body of a health check.
func ask(t *testing.T, at netip.AddrPort) (string, healthAnswer) {
	t.Helper()
	r, err := http.Get("http://" + at.String() + "/")
	if err != nil {
		return err.Error(), healthAnswer{}
	}
	defer r.Body.Close()
	var body healthAnswer
	if r.StatusCode != http.StatusNotFound {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("body: %v", err)
		}
	}
	return fmt.Sprintf("%d weight %s", r.StatusCode, r.Header.Get("X-Load-Balancing-Endpoint-Weight")), body
}

func TestHealthCheck(t *testing.T) {
	l, at := running(t), freePort(t)
	l.Want([]Socket{check(at, 2)})
	eventually(t, "it answers", func() bool { return accepts(at) })
	status, body := ask(t, at)
	if status != "200 weight 2" || body.Service.Namespace != "default" || body.Service.Name != "web" || body.LocalEndpoints != 2 || !body.ServiceProxyHealthy {
		t.Errorf("got %s, %+v", status, body)
	}
	l.Want([]Socket{check(at, 0)})
	if status, body = ask(t, at); status != "503 weight 0" || body.LocalEndpoints != 0 {
		t.Errorf("without endpoints: %s, %+v", status, body)
	}
	elsewhere := check(at, 1)
	elsewhere.Within = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	l.Want([]Socket{elsewhere})
	if status, _ = ask(t, at); !strings.HasPrefix(status, "404") {
		t.Errorf("on an address that has no node ports: %s", status)
	}
	l.Want(nil)
	eventually(t, "it is closed", func() bool { return !accepts(at) })
}

// Who sends nothing does not keep others from asking.
func TestHealthCheckIsBounded(t *testing.T) {
	l, at := running(t), freePort(t)
	l.Want([]Socket{check(at, 1)})
	eventually(t, "it answers", func() bool { return accepts(at) })
	for range maxAsking + 1 {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	eventually(t, "an answer", func() bool { status, _ := ask(t, at); return status == "200 weight 1" })
}

func TestPortInUse(t *testing.T) {
	l, at := running(t), freePort(t)
	other, err := net.Listen("tcp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	l.Want([]Socket{check(at, 1)})
	eventually(t, "a problem", func() bool { return len(l.Problems()) == 1 })
	if p := l.Problems()[0]; p.Socket.At != at || !strings.Contains(p.Err.Error(), "in use") {
		t.Errorf("got %v of %v", p.Err, p.Socket.At)
	}
	other.Close()
	eventually(t, "it answers by itself", func() bool { status, _ := ask(t, at); return status == "200 weight 1" })
	eventually(t, "no problem", func() bool { return len(l.Problems()) == 0 })
}

// A host without IPv6 has nothing to say about ::1, however often its sockets
// change. Any other failure is told once.
func TestHostWithoutIPv6(t *testing.T) {
	var told bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&told, nil)))
	six, four := netip.MustParseAddrPort("[::1]:30080"), netip.MustParseAddrPort("127.0.0.1:30080")
	l.Want([]Socket{{At: six}, {At: four}})
	for range 3 {
		l.note(map[netip.AddrPort]error{
			six:  fmt.Errorf("listening: %w", syscall.EADDRNOTAVAIL),
			four: fmt.Errorf("listening: %w", syscall.EADDRINUSE),
		})
	}
	if n := strings.Count(told.String(), "level=WARN"); n != 1 || !strings.Contains(told.String(), four.String()) {
		t.Errorf("told:\n%s", told.String())
	}
	if p := l.Problems(); len(p) != 1 || p[0].Socket.At != four {
		t.Errorf("problems: %v", p)
	}
}

// service listens as a service would.
func service(t *testing.T, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func dial(t *testing.T, at netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// A side that has said all still hears the other one.
func TestHalfClose(t *testing.T) {
	target := service(t, func(c *net.TCPConn) {
		asked, _ := io.ReadAll(c)
		fmt.Fprintf(c, "%d bytes", len(asked))
	})
	l, at := running(t), freePort(t)
	l.Want([]Socket{{At: at, Target: target, Service: "default/web"}})
	eventually(t, "it answers", func() bool { return accepts(at) })
	c := dial(t, at)
	if _, err := c.Write(slices.Repeat([]byte{'x'}, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(c); err != nil || string(answer) != "1048576 bytes" {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestForwardFollows(t *testing.T) {
	say := func(what string) netip.AddrPort {
		return service(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, what); _, _ = io.Copy(io.Discard, c) })
	}
	first, second := say("first "), say("second")
	l, at := running(t), freePort(t)
	hear := func(c *net.TCPConn) string {
		b := make([]byte, 6)
		n, _ := io.ReadFull(c, b)
		return string(b[:n])
	}
	l.Want([]Socket{{At: at, Target: first}})
	eventually(t, "it answers", func() bool { return accepts(at) })
	old := dial(t, at)
	if got := hear(old); got != "first " {
		t.Errorf("heard %q", got)
	}
	l.Want([]Socket{{At: at, Target: second}})
	if got := hear(dial(t, at)); got != "second" {
		t.Errorf("after a change heard %q", got)
	}
	// A service that refuses, and one that is gone.
	l.Want([]Socket{{At: at, Target: freePort(t)}})
	c, err := net.Dial("tcp", at.String()) // the reset may come before this returns
	if err == nil {
		_, err = io.ReadAll(c)
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client of nobody is not reset: %v", err)
	}
	l.Want(nil)
	eventually(t, "it is closed", func() bool { return !accepts(at) })
	if _, err := old.Write([]byte("still there")); err != nil {
		t.Errorf("a connection ended with its listener: %v", err)
	}
}

func TestForwardIsBounded(t *testing.T) {
	target := service(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello"); _, _ = io.Copy(io.Discard, c) })
	l, at := running(t), freePort(t)
	l.slots = make(chan struct{}, 2)
	l.Want([]Socket{{At: at, Target: target}})
	hello := func() (net.Conn, error) {
		c, err := net.Dial("tcp", at.String()) // a reset may come before this returns
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { c.Close() })
		_, err = io.ReadFull(c, make([]byte, 5))
		return c, err
	}
	// The first one is over, and has been counted, before the others begin.
	eventually(t, "it answers", func() bool {
		c, err := hello()
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	eventually(t, "its slot is free", func() bool { return len(l.slots) == 0 })
	for i := range 2 {
		if _, err := hello(); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if _, err := hello(); err == nil {
		t.Error("one more than the limit is carried on")
	}
}
