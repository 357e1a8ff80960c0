package health

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler/hosttest"
)

// namespace is the network namespace of a test: loopback, and eth0 with two
// addresses.
type namespace struct {
	t    *testing.T
	file *os.File
}

var (
	v4 = netip.MustParseAddr("10.244.0.2")
	v6 = netip.MustParseAddr("fd00::2")
)

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{t: t}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.file, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		hosttest.Skip(t, err)
	}
	t.Cleanup(func() { n.file.Close() })
	n.run("ip", "link", "set", "lo", "up")
	n.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
	n.run("ip", "link", "set", "eth0", "up")
	n.run("ip", "link", "set", "peer0", "up")
	n.run("ip", "addr", "add", v4.String()+"/24", "dev", "eth0")
	n.run("ip", "addr", "add", v6.String()+"/64", "dev", "eth0", "nodad")
	n.awaitAddress()
	return n
}

// awaitAddress waits until the IPv6 address can be used, which is when the
// kernel has noticed that the link has a carrier.
func (n *namespace) awaitAddress() {
	n.t.Helper()
	var out []byte
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err := n.enter("", func() (err error) {
			out, err = exec.Command("ip", "-6", "route", "get", v6.String()).CombinedOutput()
			return err
		}); err == nil && strings.HasPrefix(string(out), "local ") {
			return
		}
	}
	n.t.Fatalf("%s is not local: %s", v6, out)
}

// enter is Options.Enter of a host with this one namespace.
func (n *namespace) enter(_ string, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

func (n *namespace) run(command ...string) {
	n.t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := n.enter("", cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		n.t.Fatalf("%v: %v: %s", command, err, &out)
	}
}

// listen listens in the namespace until the test ends.
func (n *namespace) listen(network, at string, control func(fd int) error) net.Listener {
	n.t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if control != nil {
			_ = c.Control(func(fd uintptr) { err = control(int(fd)) })
		}
		return err
	}}
	var l net.Listener
	if err := n.enter("", func() (err error) {
		l, err = config.Listen(context.Background(), network, at)
		return err
	}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	return l
}

func (n *namespace) pod() Pod {
	return Pod{Name: name, Netns: "test", Addresses: []netip.Addr{v4, v6}}
}
