package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler/hosttest"
	"github.com/poplin-net/poplin/schema"
)

func TestListeners(t *testing.T) {
	if !hosttest.Root(t) {
		return
	}
	n := newNamespace(t)
	h := newHost(n.enter)
	toDevice := func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0") }
	onlyV6 := func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) }
	for i, test := range []struct {
		network, at string
		control     func(int) error
		v4, v6      bool // whether a pod with just that address is served
	}{
		{"tcp4", "0.0.0.0", nil, true, false},
		{"tcp4", "10.244.0.2", nil, true, false},
		{"tcp4", "127.0.0.1", nil, false, false},
		{"tcp", "[::]", nil, true, true},
		{"tcp6", "[::]", onlyV6, false, true},
		{"tcp6", "[fd00::2]", nil, false, true},
		{"tcp6", "[::1]", nil, false, false},
		{"tcp", "[::]", toDevice, true, true},
		{"tcp4", "0.0.0.0", toDevice, true, false},
	} {
		port := uint16(8000 + i)
		ask := func(a ...netip.Addr) bool {
			t.Helper()
			pod := n.pod()
			pod.Addresses = a
			l, err := h.listeners(pod)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			missing, err := l.missing(a, []uint16{port})
			if err != nil {
				t.Fatal(err)
			}
			return len(missing) == 0
		}
		if ask(v4, v6) {
			t.Errorf("port %d before anything listens", port)
		}
		l := n.listen(test.network, fmt.Sprintf("%s:%d", test.at, port), test.control)
		if got := ask(v4); got != test.v4 {
			t.Errorf("%s %s: IPv4 %v", test.network, test.at, got)
		}
		if got := ask(v6); got != test.v6 {
			t.Errorf("%s %s: IPv6 %v", test.network, test.at, got)
		}
		if got := ask(v4, v6); got != (test.v4 || test.v6) {
			t.Errorf("%s %s: both %v", test.network, test.at, got)
		}
		l.Close()
		if ask(v4, v6) {
			t.Errorf("port %d after its listener was closed", port)
		}
	}
}

func TestConnect(t *testing.T) {
	if !hosttest.Root(t) {
		return
	}
	n := newNamespace(t)
	h := newHost(n.enter)
	tcp := func(host netip.Addr, port uint16) schema.Probe {
		p := plain
		p.TCP = &schema.TCPProbe{Host: host, Port: port}
		return p
	}
	n.listen("tcp", "[::]:80", nil)
	n.listen("tcp4", "127.0.0.1:81", nil)
	for _, test := range []struct {
		probe schema.Probe
		want  string
	}{
		{tcp(netip.Addr{}, 80), ""},
		{tcp(v6, 80), ""},
		{tcp(netip.MustParseAddr("127.0.0.1"), 81), ""},
		{tcp(netip.Addr{}, 81), "connecting to 10.244.0.2:81: connection refused"},
		{tcp(netip.MustParseAddr("192.0.2.1"), 80), "connecting to 192.0.2.1:80: network is unreachable"},
	} {
		if got := text(h.probe(t.Context(), n.pod(), test.probe)); got != test.want {
			t.Errorf("%v: %q, want %q", test.probe.TCP, got, test.want)
		}
	}
	// Nobody answers for the neighbour: only the context ends that.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.probe(ctx, n.pod(), tcp(netip.MustParseAddr("10.244.0.9"), 80)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a neighbour that is not there: %v", err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestGet(t *testing.T) {
	if !hosttest.Root(t) {
		return
	}
	n := newNamespace(t)
	h := newHost(n.enter)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/headers":
			if r.Host != "example.com" || r.Header.Get("X-Y") != "z" || r.Header.Get("User-Agent") != "curl" || r.URL.RawQuery != "a=%31" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/there":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		case "/hang":
			<-r.Context().Done()
		case "/broken":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = n.listen("tcp", "[::]:80", nil)
	server.Start()
	defer server.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.Listener.Close()
	secure.Listener = n.listen("tcp", "[::]:443", nil)
	secure.TLS = &tls.Config{}
	secure.StartTLS()
	defer secure.Close()

	get := func(path string, port uint16) *schema.HTTPProbe { return &schema.HTTPProbe{Port: port, Path: path} }
	headers := get("/headers?a=%31", 80)
	headers.Headers = []schema.Header{{Name: "host", Value: "example.com"}, {Name: "x-y", Value: "z"}, {Name: "user-agent", Value: "curl"}}
	https := get("/", 443)
	https.TLS = true
	sixth := get("/", 80)
	sixth.Host = v6
	for _, test := range []struct {
		probe *schema.HTTPProbe
		want  string
	}{
		{get("/", 80), ""},
		{headers, ""},
		{https, ""},
		{sixth, ""},
		{get("/there", 80), ""},
		{get("/away", 80), ""},
		{get("/round", 80), "too many redirects"},
		{get("/broken", 80), "status 503 Service Unavailable"},
		{get("/", 81), "connecting to 10.244.0.2:81: connection refused"},
	} {
		if got := text(h.probe(t.Context(), n.pod(), schema.Probe{HTTP: test.probe})); got != test.want {
			t.Errorf("%+v: %q, want %q", *test.probe, got, test.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.probe(ctx, n.pod(), schema.Probe{HTTP: get("/hang", 80)}); err == nil {
		t.Error("a server that does not answer is fine")
	}
}

func TestExec(t *testing.T) {
	if !hosttest.Root(t) {
		return
	}
	n := newNamespace(t)
	h := newHost(n.enter)
	h.commands = true
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	run := func(command ...string) error { return h.probe(t.Context(), n.pod(), schema.Probe{Exec: command}) }
	shell := func(script string) error { return run("sh", "-c", script) }
	if err := shell("ip -br addr show dev eth0 | grep -q 10.244.0.2 && test -z \"$NOTIFY_SOCKET\""); err != nil {
		t.Error(err)
	}
	if got, want := text(shell("echo out of  order >&2; exit 3")), "exit status 3: out of order"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := run("nonesuch"); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	if got := text(shell("yes | head -c 100000; exit 1")); !strings.HasPrefix(got, "exit status 1: y y") || len(got) > 300 {
		t.Errorf("%q", got)
	}
	// What a command starts ends with it when it takes too long.
	pids := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := h.probe(ctx, n.pod(), schema.Probe{Exec: []string{"sh", "-c", "sleep 60 & echo $! > " + pids + "; wait"}})
	if err == nil {
		t.Error("a command that was killed is fine")
	}
	content, err := os.ReadFile(pids)
	if err != nil {
		t.Skip("the shell was too slow")
	}
	stat := "/proc/" + strings.TrimSpace(string(content)) + "/stat"
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		fields, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(fields), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the command's child lives on")
		}
	}
}

// TestProber is all of it together, with the real clock.
func TestProber(t *testing.T) {
	if !hosttest.Root(t) {
		return
	}
	n := newNamespace(t)
	p := New(Options{Enter: n.enter})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	pod := n.pod()
	pod.TCPPorts = []uint16{80, 81}
	p.Configure([]Pod{pod})
	await := func(want bool) {
		t.Helper()
		for deadline := time.After(10 * time.Second); p.Results()[name].Ready != want; {
			select {
			case <-p.Changes():
			case <-deadline:
				t.Fatalf("%+v", p.Results())
			}
		}
	}
	n.listen("tcp", ":80", nil)
	l := n.listen("tcp", ":81", nil)
	await(true)
	l.Close()
	await(false)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	// Nothing of the Prober is left in the namespace.
	sockets, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(sockets, isNetlink) {
		t.Error("a netlink socket is left open")
	}
}

func isNetlink(path string) bool {
	var fd int
	if _, err := fmt.Sscanf(filepath.Base(path), "%d", &fd); err != nil {
		return false
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_NETLINK
}

// BenchmarkListens is the cost of one look at one port.
func BenchmarkListens(b *testing.B) {
	d, err := openDiag(0)
	if err != nil {
		b.Skip(err)
	}
	defer d.Close()
	a := netip.MustParseAddr("127.0.0.1")
	for b.Loop() {
		if _, err := d.listens(a, 9); err != nil {
			b.Fatal(err)
		}
	}
}

func TestExecIsRefused(t *testing.T) {
	h := newHost(nil)
	pod := Pod{Name: schema.Name{Namespace: "default", Name: "web"}}
	marker := filepath.Join(t.TempDir(), "ran")
	if err := h.probe(t.Context(), pod, schema.Probe{Exec: []string{"touch", marker}}); !errors.Is(err, errNoCommands) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the command ran")
	}
}
