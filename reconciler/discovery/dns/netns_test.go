package dns_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	wire "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler/discovery/dns"
)

// inFreshNamespace runs a test again in a network namespace of its own, as
// root or as root of a user namespace. It returns false in the process that
// has only waited for that.
func inFreshNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "POPLIN_TEST_INSIDE"
	if os.Getenv(mark) != "" {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("in a network namespace: %v\n%s", err, out)
	case err != nil && os.Getenv("POPLIN_TEST_REQUIRE") == "1":
		t.Fatal(err)
	case err != nil:
		t.Skipf("no network namespace: %v", err)
	}
	return false
}

func must(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

// TestAddressesThatAreNotThereYet listens on addresses before a link has
// them, on several at a time, of both families: each answers from itself.
//
//	lo, later also 10.96.0.10, 10.244.1.1, fd00:96::a
func TestAddressesThatAreNotThereYet(t *testing.T) {
	if !inFreshNamespace(t) {
		return
	}
	settings := dns.Settings{Allowed: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}
	texts := []string{"10.96.0.10", "10.244.1.1", "fd00:96::a"}
	for _, text := range texts {
		settings.Addresses = append(settings.Addresses, netip.AddrPortFrom(netip.MustParseAddr(text), 53))
	}
	// Without any address the kernel takes every other for a broadcast address
	// (__inet_dev_addr_type, 6.18), from which a socket does not send.
	must(t, "ip link set lo up")
	started(t, zoneOf(web()), settings)
	for _, text := range texts {
		must(t, fmt.Sprintf("ip addr add %s dev lo", text))
	}
	eventually(t, "duplicate address detection is over", func() bool {
		out, err := exec.Command("ip", "-6", "addr", "show", "tentative").Output()
		return err == nil && len(out) == 0
	})
	for _, text := range texts {
		for _, network := range []string{"udp", "tcp"} {
			if r := ask(t, network, net.JoinHostPort(text, "53"), "web.default.svc.cluster.local.", wire.TypeA); len(r.Answer) != 1 {
				t.Errorf("%s %s: %v", network, text, r)
			}
		}
	}
	// A client with another address of this host that may not ask.
	must(t, "ip addr add 192.0.2.9 dev lo")
	dialer := &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP("192.0.2.9")}, Timeout: wait}
	client := wire.Client{Dialer: dialer, Timeout: wait}
	m := new(wire.Msg)
	m.SetQuestion("web.default.svc.cluster.local.", wire.TypeA)
	r, _, err := client.Exchange(m, "10.96.0.10:53")
	if err != nil || r.Rcode != wire.RcodeRefused {
		t.Errorf("a client from outside: %v %v", r, err)
	}
}
