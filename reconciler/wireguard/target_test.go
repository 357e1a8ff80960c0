package wireguard_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/poplin-net/poplin/overlay/wg"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/hosttest"
	"github.com/poplin-net/poplin/reconciler/wireguard"
)

const device = "poplin-wg"

// onFreshHost is hosttest.Fresh of a host that can make TUN devices.
func onFreshHost(t *testing.T) bool {
	t.Helper()
	hosttest.NeedTUN(t)
	return hosttest.Fresh(t)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// node is a target with its keys.
type node struct {
	*wireguard.Target
	keys *wg.Keys
}

func newNode(t *testing.T) *node {
	t.Helper()
	keys, err := wg.OpenKeys(t.TempDir())
	must(t, err)
	must(t, keys.Ensure())
	n := &node{wireguard.New(wireguard.Options{Device: device, Keys: keys, Log: slog.New(slog.DiscardHandler)}), keys}
	t.Cleanup(func() { must(t, n.Close()) })
	return n
}

func (n *node) device(port uint16) reconciler.WireGuard {
	return reconciler.WireGuard{Device: device, PublicKey: n.keys.Public(), Port: port, Userspace: true}
}

// settle brings the device to a state in a number of operations, and sees that
// nothing is left to do.
func (n *node) settle(t *testing.T, operations int, objects ...reconciler.Object) {
	t.Helper()
	round := n.converge(t, objects...)
	if len(round.Plan) != operations {
		t.Errorf("%d operations, not %d: %v", len(round.Plan), operations, round.Plan)
	}
	if round := n.converge(t, objects...); len(round.Plan) != 0 {
		t.Errorf("still to do: %v", round.Plan)
	}
}

func (n *node) converge(t *testing.T, objects ...reconciler.Object) reconciler.Round {
	t.Helper()
	round := reconciler.NewEngine(n).Converge(t.Context(), func(reconciler.Observation) (reconciler.Desired, error) {
		return reconciler.Desired{State: reconciler.NewState(&reconciler.Group{Name: "test", Objects: objects}), Complete: true}, nil
	})
	must(t, round.Err)
	return round
}

func peer(subnet, key, endpoint string) reconciler.WireGuardPeer {
	return reconciler.WireGuardPeer{Device: device, Subnet: netip.MustParsePrefix(subnet), PublicKey: key, Endpoint: netip.MustParseAddrPort(endpoint)}
}

func newKey(t *testing.T) string {
	t.Helper()
	key, err := wgtypes.GeneratePrivateKey()
	must(t, err)
	return key.PublicKey().String()
}

func TestDeviceFollowsObjects(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	ip(t, "tuntap add dev "+device+" mode tun")
	ip(t, "link set "+device+" up mtu 1420")
	n := newNode(t)
	n.settle(t, 0)
	two, three := newKey(t), newKey(t)
	a, b, c := peer("10.244.2.0/24", two, "127.0.0.2:51820"), peer("fd00:2::/64", two, "127.0.0.2:51820"), peer("10.244.3.0/24", three, "[::1]:51820")
	n.settle(t, 4, n.device(51820), a, b, c)
	c.Keepalive = 25
	n.settle(t, 1, n.device(51820), a, b, c)
	n.settle(t, 1, n.device(51820), a, c)
	a.Endpoint = netip.MustParseAddrPort("127.0.0.9:51820")
	n.settle(t, 1, n.device(51820), a, c)
	n.settle(t, 1, n.device(51821), a, c)

	// A peer moved: that is no difference. Its document changes: it is set.
	roam(t, two, "127.0.0.77:1234")
	n.settle(t, 0, n.device(51821), a, c)
	if now := endpoints(t)[two]; now != "127.0.0.77:1234" {
		t.Errorf("the endpoint was set back to %s", now)
	}
	a.Endpoint = netip.MustParseAddrPort("127.0.0.2:51820")
	n.settle(t, 1, n.device(51821), a, c)
	if now := endpoints(t)[two]; now != "127.0.0.2:51820" {
		t.Errorf("the endpoint is %s", now)
	}

	// Another key of the peer, then of the node.
	a.PublicKey = newKey(t)
	n.settle(t, 1, n.device(51821), a, c)
	if diff := cmp.Diff(2, len(endpoints(t))); diff != "" {
		t.Error(diff)
	}
	must(t, n.keys.Renew())
	n.settle(t, 1, n.device(51821), a, c)

	n.settle(t, 3)
	if _, err := os.Stat("/run/wireguard/" + device + ".sock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the embedded device is still there: %v", err)
	}
	ip(t, "link show "+device)
}

func TestDeviceThatGoesAway(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	ip(t, "tuntap add dev "+device+" mode tun")
	ip(t, "link set "+device+" up mtu 1420")
	n := newNode(t)
	a := peer("10.244.2.0/24", newKey(t), "127.0.0.2:51820")
	n.settle(t, 2, n.device(51820), a)
	ip(t, "link delete "+device)
	select {
	case <-n.Changes():
	case <-time.After(10 * time.Second):
		t.Fatal("not heard")
	}
	ip(t, "tuntap add dev "+device+" mode tun")
	ip(t, "link set "+device+" up mtu 1420")
	n.settle(t, 2, n.device(51820), a)
	// Deleting what is missing is success.
	must(t, n.Apply(context.Background(), reconciler.Plan{
		{Verb: reconciler.Delete, Before: peer("10.244.9.0/24", newKey(t), "127.0.0.2:51820")},
		{Verb: reconciler.Delete, Before: a}, {Verb: reconciler.Delete, Before: n.device(51820)},
	}, reconciler.State{}))
	n.settle(t, 0)
	// A process that died leaves a socket behind.
	must(t, os.MkdirAll("/run/wireguard", 0o755))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "/run/wireguard/" + device + ".sock"})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	n.settle(t, 2, n.device(51820), a)
}

// roam plays a peer that moves.
func roam(t *testing.T, public, endpoint string) {
	t.Helper()
	client, err := wgctrl.New()
	must(t, err)
	defer client.Close()
	key, err := wgtypes.ParseKey(public)
	must(t, err)
	must(t, client.ConfigureDevice(device, wgtypes.Config{Peers: []wgtypes.PeerConfig{
		{PublicKey: key, UpdateOnly: true, Endpoint: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(endpoint))},
	}}))
}

// endpoints are those of the device, by public key.
func endpoints(t *testing.T) map[string]string {
	t.Helper()
	client, err := wgctrl.New()
	must(t, err)
	defer client.Close()
	d, err := client.Device(device)
	must(t, err)
	out := map[string]string{}
	for _, p := range d.Peers {
		out[p.PublicKey.String()] = p.Endpoint.String()
	}
	return out
}

func TestManyPeers(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	const count = 1000
	ip(t, "tuntap add dev "+device+" mode tun")
	ip(t, "link set "+device+" up mtu 1420")
	n := newNode(t)
	objects := []reconciler.Object{n.device(51820)}
	for i := range count {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		objects = append(objects, peer(subnet.String(), newKey(t), "127.0.0.2:51820"))
	}
	start := time.Now()
	n.settle(t, 1+count, objects...)
	t.Logf("make and read back: %v", time.Since(start).Round(time.Millisecond))
	moved := objects[1].(reconciler.WireGuardPeer)
	moved.Endpoint = netip.MustParseAddrPort("127.0.0.3:51820")
	objects[1] = moved
	start = time.Now()
	n.settle(t, 1, objects...)
	t.Logf("one moved: %v", time.Since(start).Round(time.Millisecond))
}
