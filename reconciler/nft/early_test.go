package nft

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// attempt is a connection that is being made; its SYN has been sent.
type attempt struct {
	t  *testing.T
	to netip.AddrPort
	fd int
}

// attempt sends the SYN before it returns.
func (n *netns) attempt(t *testing.T, to netip.AddrPort) *attempt {
	t.Helper()
	a := &attempt{t: t, to: to}
	if err := n.do(func() (err error) {
		if a.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err = unix.Connect(a.fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
		if errors.Is(err, unix.EINPROGRESS) {
			return nil
		}
		return err
	}); err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	t.Cleanup(func() { _ = unix.Close(a.fd) })
	return a
}

// result says what became of it; done is unset as long as nothing did.
func (a *attempt) result() (done bool, err error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLOUT}}, 0)
	if n == 0 || err != nil {
		return false, nil
	}
	code, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return true, err
}

// made reports whether the connection was made; one that failed fails the test.
func (a *attempt) made() bool {
	done, err := a.result()
	if err != nil {
		a.t.Fatalf("%s: %v", a.to, err)
	}
	return done
}

// dark gives the namespace an address for a pod, and a way out by which nobody
// ever answers.
func (n *netns) dark(t *testing.T, pod netip.AddrPort) {
	t.Helper()
	n.run("ip link add out type veth peer name gateway; ip link set out up; ip link set gateway up; ip address add 192.0.2.1/24 dev out;" +
		" ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev out; ip route add default via 192.0.2.2; ip address add " + pod.Addr().String() + "/32 dev lo")
	if err := n.do(func() error {
		l, err := net.Listen("tcp", pod.String())
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// Where others have connections tracked, a SYN that went out before there was a
// table would go the same way again and again.
func TestClientsThatWereEarlierThanTheTable(t *testing.T) {
	n := newNetns(t)
	pod := netip.MustParseAddrPort("10.244.1.2:80")
	n.dark(t, pod)
	n.run("nft 'add table inet other; add chain inet other x { type filter hook output priority 0; }; add rule inet other x ct state new accept'")
	s := service{name: "a", address: netip.MustParseAddr("10.96.0.1"), protocol: reconciler.TCP, port: 80, targets: []netip.AddrPort{pod}}
	want := state(host(map[reconciler.SetName][]string{reconciler.SetServiceRanges: {"10.96.0.0/12"}}), s)
	x := target(t, n)
	for _, harm := range []string{"true", "nft delete table ip poplin", "nft flush chain ip poplin output"} {
		n.run(harm)
		c := n.attempt(t, netip.AddrPortFrom(s.address, s.port))
		reach(t, x, want)
		eventually(t, "a connection after "+harm, c.made)
	}
}
