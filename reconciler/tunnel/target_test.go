package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/overlay/udp/udptest"
	"github.com/poplin-net/poplin/reconciler"
)

const device = "poplin0"

var (
	local   = netip.MustParseAddrPort("192.0.2.1:8285")
	moved   = netip.MustParseAddrPort("192.0.2.1:9000")
	remote2 = netip.MustParseAddrPort("192.0.2.2:8285")
	remote3 = netip.MustParseAddrPort("192.0.2.3:8285")
)

// world is a target on in-memory devices and an in-memory underlay.
type world struct {
	t       *testing.T
	network *udptest.Network
	devices map[string]*udptest.Device // those that exist
	target  *Target
	state   reconciler.State // last applied
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, network: udptest.NewNetwork(), devices: map[string]*udptest.Device{}}
	w.makeDevice(device)
	w.target = New(Options{
		OpenDevice: func(name string, _ udp.Tuning) (udp.Device, error) {
			if w.devices[name] == nil {
				return nil, fmt.Errorf("tun %s: no such device", name)
			}
			return w.devices[name], nil
		},
		Listen: func(local netip.AddrPort, _ udp.Tuning) (udp.Conn, error) { return w.network.Listen(local) },
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	return w
}

func (w *world) makeDevice(name string) *udptest.Device {
	w.devices[name] = udptest.NewDevice(name)
	return w.devices[name]
}

// apply brings the target from what it has to a state of objects.
func (w *world) apply(objects ...reconciler.Object) error {
	w.t.Helper()
	desired := reconciler.NewState(&reconciler.Group{Name: "host", Objects: objects})
	plan := reconciler.Diff(w.observe(), desired)
	w.state = desired
	return w.target.Apply(w.t.Context(), plan, desired)
}

func (w *world) observe() reconciler.State {
	w.t.Helper()
	o, err := w.target.Observe(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return o.State
}

// expect checks that what is observed is what was last applied.
func (w *world) expect() {
	w.t.Helper()
	if plan := reconciler.Diff(w.observe(), w.state); len(plan) > 0 {
		w.t.Fatalf("observed differs: %v", plan)
	}
}

// lines is a state as sorted text.
func lines(s reconciler.State) string {
	var list []string
	for _, o := range s.Objects() {
		list = append(list, o.String())
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

func tunnelAt(at netip.AddrPort) reconciler.Tunnel {
	return reconciler.Tunnel{Device: device, Local: at}
}

func peer(subnet string, endpoint netip.AddrPort, node string) reconciler.TunnelPeer {
	return reconciler.TunnelPeer{Device: device, Subnet: netip.MustParsePrefix(subnet), Endpoint: endpoint, Node: node}
}

func packet(source, destination string) []byte {
	p := make([]byte, 20)
	p[0], p[3] = 0x45, 20
	copy(p[12:], netip.MustParseAddr(source).AsSlice())
	copy(p[16:], netip.MustParseAddr(destination).AsSlice())
	return p
}

// hears reports whether a packet of node-2 that is sent to an address and
// port reaches the device.
func (w *world) hears(at netip.AddrPort) bool {
	w.network.Send(remote2, at, packet("10.244.2.9", "10.244.1.5"))
	synctest.Wait()
	select {
	case <-w.devices[device].Received():
		return true
	default:
		return false
	}
}

// changed reports whether the target signals a change.
func (w *world) changed() bool {
	synctest.Wait()
	select {
	case <-w.target.Changes():
		return true
	default:
		return false
	}
}

// bubble runs a test with a world in a synctest bubble, whose end shows that
// Close leaves no goroutine.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f(t, w)
		if err := w.target.Close(); err != nil {
			t.Error(err)
		}
		if got := lines(w.observe()); got != "" {
			t.Errorf("after Close: %s", got)
		}
	})
}

func TestTargetRunsATunnel(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if got := lines(w.observe()); got != "" {
			t.Errorf("before: %s", got)
		}
		if err := w.apply(tunnelAt(local), peer("10.244.2.0/24", remote2, "node-2")); err != nil {
			t.Fatal(err)
		}
		w.expect()
		if !w.hears(local) {
			t.Error("a packet did not arrive")
		}
		if got := w.target.Counters()[device].Peers; len(got) != 1 || got[0].Node != "node-2" || got[0].ReceivedPackets != 1 {
			t.Errorf("counters: %+v", got)
		}
		if err := w.apply(); err != nil {
			t.Fatal(err)
		}
		w.expect()
		<-w.devices[device].Closed()
		if w.network.Listening(local) || len(w.target.Counters()) != 0 {
			t.Error("something is left of the tunnel")
		}
		if w.changed() {
			t.Error("the target signals its own deed")
		}
	})
}

func TestTargetGivesGroupsBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if err := w.apply(tunnelAt(local), peer("10.244.2.0/24", remote2, "node-2")); err != nil {
			t.Fatal(err)
		}
		if w.observe().Group("host") != w.state.Group("host") {
			t.Error("not the group that was applied")
		}
	})
}

// No packet is dropped between the start of a tunnel and its first peers.
func TestTargetStartsWithPeers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.devices[device].Send(packet("10.244.1.5", "10.244.2.9"))
		far, err := w.network.Listen(remote2)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.apply(tunnelAt(local), peer("10.244.2.0/24", remote2, "node-2")); err != nil {
			t.Fatal(err)
		}
		if n, err := far.Read(0, []udp.Datagram{{Data: make([]byte, 64)}}); n != 1 || err != nil {
			t.Error(n, err)
		}
		if c := w.target.Counters()[device]; len(c.Drops) > 0 {
			t.Errorf("drops: %v", c.Drops)
		}
	})
}

func TestTargetPutsADeadTunnelBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		objects := []reconciler.Object{tunnelAt(local), peer("10.244.2.0/24", remote2, "node-2")}
		if err := w.apply(objects...); err != nil {
			t.Fatal(err)
		}
		w.devices[device].Delete()
		if !w.changed() {
			t.Fatal("no change is signalled")
		}
		if got := lines(w.observe()); got != "" {
			t.Errorf("a dead tunnel is observed: %s", got)
		}
		delete(w.devices, device)
		if err := w.apply(objects...); err == nil || !strings.Contains(err.Error(), "no such device") {
			t.Errorf("without a device: %v", err)
		}
		w.makeDevice(device)
		if err := w.apply(objects...); err != nil {
			t.Fatal(err)
		}
		w.expect()
		if !w.hears(local) {
			t.Error("a packet did not arrive")
		}
	})
}

func TestTargetHearsTheFormerPort(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := peer("10.244.2.0/24", remote2, "node-2")
		far, err := w.network.Listen(remote2)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.apply(tunnelAt(local), p), w.apply(tunnelAt(moved), p)); err != nil {
			t.Fatal(err)
		}
		w.expect()
		w.devices[device].Send(packet("10.244.1.5", "10.244.2.9"))
		got := []udp.Datagram{{Data: make([]byte, 64)}}
		if _, err := far.Read(0, got); err != nil || got[0].Addr != moved {
			t.Errorf("sent from %s, %v", got[0].Addr, err)
		}
		time.Sleep(9 * time.Minute)
		if !w.hears(local) || !w.hears(moved) {
			t.Error("after nine minutes the tunnel does not hear both")
		}
		// Back again: the socket that lingers is the current one, for good.
		if err := w.apply(tunnelAt(local), p); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Minute)
		if !w.hears(local) || !w.hears(moved) {
			t.Error("nine minutes after the return the tunnel does not hear both")
		}
		time.Sleep(2 * time.Minute)
		if !w.hears(local) || w.network.Listening(moved) || w.changed() {
			t.Error("after eleven minutes the former port is open, or the tunnel suffered")
		}
		if err := w.apply(tunnelAt(moved), p); err != nil {
			t.Fatal(err)
		}
		if err := w.apply(); err != nil || w.network.Listening(local) || w.network.Listening(moved) {
			t.Errorf("the end of the tunnel leaves sockets open, or %v", err)
		}
	})
}

func TestTargetReportsFailures(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		taken, err := w.network.Listen(local)
		if err != nil {
			t.Fatal(err)
		}
		p := peer("10.244.2.0/24", remote2, "node-2")
		err = w.apply(tunnelAt(local), p)
		var failed *reconciler.OpError
		if !errors.As(err, &failed) || failed.Op.After != reconciler.Object(tunnelAt(local)) || !errors.Is(err, reconciler.ErrSkipped) {
			t.Errorf("port taken: %v", err)
		}
		<-w.devices[device].Closed() // and not left open
		w.makeDevice(device)
		if err := w.apply(p); err == nil {
			t.Error("a peer without a tunnel is no error")
		}
		taken.Close()
		if err := w.apply(tunnelAt(local), p); err != nil {
			t.Fatal(err)
		}
		// A port that cannot be had leaves the tunnel as it was.
		if taken, err = w.network.Listen(moved); err != nil {
			t.Fatal(err)
		}
		if err := w.apply(tunnelAt(moved), p); err == nil {
			t.Error("port taken: no error")
		}
		w.state = reconciler.NewState(&reconciler.Group{Name: "host", Objects: []reconciler.Object{tunnelAt(local), p}})
		w.expect()
		if !w.hears(local) {
			t.Error("a packet did not arrive")
		}
		// Deleting what is missing, and adding what is there, is success.
		plan := reconciler.Plan{
			{Verb: reconciler.Add, After: tunnelAt(local)},
			{Verb: reconciler.Add, After: p},
			{Verb: reconciler.Delete, Before: peer("10.9.0.0/16", remote3, "node-3")},
			{Verb: reconciler.Delete, Before: reconciler.Tunnel{Device: "absent", Local: moved}},
		}
		if err := w.target.Apply(t.Context(), plan, w.state); err != nil {
			t.Error(err)
		}
		w.expect()
		taken.Close()
	})
}

// Any state follows any other: apply, observe, equal.
func TestTargetConformance(t *testing.T) {
	states := [][]reconciler.Object{
		{},
		{tunnelAt(local)},
		{tunnelAt(moved), peer("10.244.2.0/24", remote2, "node-2")},
		{tunnelAt(local), peer("10.244.2.0/24", remote2, "node-2"), peer("10.244.3.0/24", remote3, "node-3")},
		{tunnelAt(local), peer("10.244.2.0/24", remote3, "node-3"), peer("fd00:3::/64", remote3, "node-3")},
		{tunnelAt(local), peer("10.244.2.0/24", remote2, "renamed"), peer("10.244.4.0/24", remote2, "renamed")},
	}
	bubble(t, func(t *testing.T, w *world) {
		random := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			w.makeDevice(device) // an in-memory device is attached to once
			if r := w.target.tunnels[device]; r != nil && random.IntN(4) > 0 {
				if err := w.apply(); err != nil {
					t.Fatal(err)
				}
			}
			state := states[random.IntN(len(states))]
			if err := w.apply(state...); err != nil {
				t.Fatalf("%v: %v", state, err)
			}
			w.expect()
			if err := w.target.Apply(context.Background(), nil, w.state); err != nil {
				t.Fatal(err)
			}
			w.expect()
		}
	})
}

func TestCollect(t *testing.T) {
	objects := map[reconciler.Key]reconciler.TunnelPeer{}
	for _, p := range []reconciler.TunnelPeer{
		peer("fd00:2::/64", remote2, "node-2"), peer("10.244.2.0/24", remote2, "node-2"), peer("10.244.3.0/24", remote3, "node-3"),
	} {
		objects[p.Key()] = p
	}
	got := fmt.Sprint(collect(objects))
	want := "[{node-2 192.0.2.2:8285 [10.244.2.0/24 fd00:2::/64]} {node-3 192.0.2.3:8285 [10.244.3.0/24]}]"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
