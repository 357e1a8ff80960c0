package dns_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/poplin-net/poplin/reconciler/discovery/dns"
	"github.com/poplin-net/poplin/reconciler/hosttest"
)

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
	if !hosttest.FreshNetwork(t) {
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
