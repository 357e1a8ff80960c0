package daemon

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/hosttest"
)

// Two pods on the bridge of one node, of both families.
const pairText = `apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: c}
spec:
  podCIDRs: [10.244.0.0/16, "fd00:244::/48"]
  serviceCIDRs: [10.96.0.0/16, "fd00:96::/112"]
  overlay: {backend: none}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: one}
spec: {cidrs: [10.244.1.0/24, "fd00:244:0:1::/64"], node: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}, annotations: {poplin/ip: "10.244.1.11,fd00:244:0:1::11"}}
spec: {nodeName: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: b}, annotations: {poplin/ip: "10.244.1.12,fd00:244:0:1::12"}}
spec: {nodeName: node-1}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {clusterIPs: [10.96.0.22, "fd00:96::22"], ipFamilyPolicy: RequireDualStack, selector: {app: b}, ports: [{port: 80, targetPort: 8080}]}
`

// TestSameBridge: two pods of one bridge reach each other by address and by
// service, and the server sees the client pod, with br_netfilter and without,
// and while the module comes and goes. A connection survives both.
func TestSameBridge(t *testing.T) {
	if !hosttest.Fresh(t) {
		return
	}
	h := newBridgeHost(t)
	_, err := os.Stat("/proc/sys/net/bridge")
	module := err == nil
	if module {
		// As if it were not there: what is bridged meets no rules.
		for _, name := range []string{"iptables", "ip6tables"} {
			if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+name, []byte("0"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.converge(t, false)
	for _, address := range []string{"10.244.1.12", "fd00:244:0:1::12"} {
		serve(t, "default_b", netip.AddrPortFrom(netip.MustParseAddr(address), 8080))
	}
	h.wantReached(t)
	if !module {
		t.Log("br_netfilter is not there: it cannot come")
		return
	}
	var standing []net.Conn
	for _, address := range []string{"10.96.0.22:80", "[fd00:96::22]:80"} {
		standing = append(standing, dial(t, "default_a", address))
	}
	for _, bridgeNF := range []bool{true, false, true} {
		h.converge(t, bridgeNF)
		h.wantReached(t)
		for _, c := range standing {
			if _, err := ask(c); err != nil {
				t.Errorf("br_netfilter %v: a standing connection: %v", bridgeNF, err)
			}
		}
	}
}

// bridgeHost is node-1 on a fresh host.
type bridgeHost struct {
	engine   *reconciler.Engine
	compiler *compile.Compiler
	facts    facts
}

func newBridgeHost(t *testing.T) *bridgeHost {
	targets, err := openTargets(Options{Node: "node-1", StateDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}, "c", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { targets.close() })
	h := &bridgeHost{reconciler.NewEngine(targets.linux, targets.nft, targets.tunnel), compile.New(), factsOf(t, pairText, overlay.Snapshot{Joined: true})}
	h.facts.standing = map[string]bool{"default_a": true, "default_b": true}
	return h
}

// converge brings the host to the documents, and finds nothing left to do.
func (h *bridgeHost) converge(t *testing.T, bridgeNF bool) {
	t.Helper()
	h.facts.bridgeNF = bridgeNF
	for range 2 {
		round := h.engine.Converge(t.Context(), func(seen reconciler.Observation) (reconciler.Desired, error) {
			h.facts.observed = seen.State
			g := reach(h.facts, h.compiler)
			return reconciler.Desired{State: g.State, Complete: true}, nil
		})
		if round.Err != nil || len(round.Conflicts) > 0 {
			t.Fatalf("round: %v, conflicts %v", round.Err, round.Conflicts)
		}
	}
	seen, err := h.engine.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.facts.observed = seen.State
	if plan := reconciler.Diff(seen.State, reach(h.facts, h.compiler).State); len(plan) > 0 {
		t.Fatalf("left to do:\n%v", plan)
	}
}

// wantReached asks b from a by address and by service.
func (h *bridgeHost) wantReached(t *testing.T) {
	t.Helper()
	for address, client := range map[string]string{
		"10.244.1.12:8080": "10.244.1.11", "[fd00:244:0:1::12]:8080": "fd00:244:0:1::11",
		"10.96.0.22:80": "10.244.1.11", "[fd00:96::22]:80": "fd00:244:0:1::11",
	} {
		if got, err := ask(dial(t, "default_a", address)); err != nil || got != client {
			t.Errorf("br_netfilter %v: %s sees %q, want %s: %v", h.facts.bridgeNF, address, got, client, err)
		}
	}
	// A pod reaches itself, too.
	for _, address := range []string{"10.96.0.22:80", "[fd00:96::22]:80"} {
		if _, err := ask(dial(t, "default_b", address)); err != nil {
			t.Errorf("br_netfilter %v: b to itself at %s: %v", h.facts.bridgeNF, address, err)
		}
	}
}

// trafficTimeout is far above what a connection takes on one host.
const trafficTimeout = 5 * time.Second

// ask says something and returns the address that the server answers with.
func ask(c net.Conn) (string, error) {
	if c == nil {
		return "", fmt.Errorf("not connected")
	}
	if err := c.SetDeadline(time.Now().Add(trafficTimeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "who am I?\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// dial connects from a namespace; nil and an error of the test if it cannot.
func dial(t *testing.T, netns, address string) net.Conn {
	t.Helper()
	var c net.Conn
	err := inside(netns, func() (err error) {
		dialer := net.Dialer{Timeout: trafficTimeout, FallbackDelay: -1}
		c, err = dialer.Dial("tcp", address)
		return err
	})
	if err != nil {
		t.Errorf("from %s: %v", netns, err)
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve answers each line with the client's address.
func serve(t *testing.T, netns string, address netip.AddrPort) {
	t.Helper()
	var listener net.Listener
	if err := inside(netns, func() (err error) {
		listener, err = net.Listen("tcp", address.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
				}
			}()
		}
	}()
}

// inside runs a function on a thread in a named network namespace. The thread
// is given up afterwards.
func inside(netns string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		fd, err := unix.Open("/run/netns/"+netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}
