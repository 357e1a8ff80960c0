package nft

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

// counted reads what two elements of a frontend have counted: all packets, and
// connections.
func (w *network) counted(t *testing.T, e reconciler.Element, traffic, connections reconciler.SetName) [2]Count {
	t.Helper()
	all, err := w.target.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out [2]Count
	for i, set := range []reconciler.SetName{traffic, connections} {
		e.Set = set
		count, there := all[e.Key().(reconciler.ElementKey)]
		if !there {
			t.Fatalf("%s is missing", e)
		}
		out[i] = count
	}
	return out
}

// once sends one datagram and waits for its answer, and gives their lengths.
func once(t *testing.T, n *netns, address string, port uint16) (sent, received int) {
	t.Helper()
	c, err := n.dial("udp", address, port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 512)
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if sent, err = c.Write([]byte("question")); err == nil {
		received, err = c.Read(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sent, received
}

// Each packet counts once, whichever way it takes, in both directions.
func TestCounters(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podB, "b", podsB)
	w.server(w.podC, "c", podsC)
	w.server(w.node, "node", nodes)
	w.serve(map[uint16][2][]string{
		1: {{podsA[0]}, {podsA[1]}},
		2: {{podsB[0]}, {podsB[1]}},
		3: {{podsC[0]}, {podsC[1]}},
		4: {{nodes[0]}, {nodes[1]}},
		6: {},
	})
	for i, f := range families() {
		header := []int{20, 40}[i] + 8
		for _, c := range []struct {
			name string
			from *netns
			port uint16 // from 30000 on a node port
		}{
			{"pod to pod on the same bridge", w.podA, 2},
			{"pod to itself", w.podA, 1},
			{"pod to remote pod", w.podA, 3},
			{"pod to host network", w.podA, 4},
			{"host to pod", w.node, 1},
			{"host to remote pod", w.node, 3},
			{"host to itself", w.node, 4},
			{"outside to pod", w.client, 1},
			{"outside to remote pod", w.client, 3},
			{"outside to node port", w.client, 30001},
			{"outside to node port, remote", w.client, 30003},
			{"outside to node port, host network", w.client, 30004},
			{"pod to node port, itself", w.podA, 30001},
			{"host to node port, remote", w.node, 30003},
			{"remote pod to node port, back", w.podC, 30003},
		} {
			t.Run(fmt.Sprint(f, " ", c.name), func(t *testing.T) {
				address := vips[i]
				e := reconciler.Element{Family: f, Address: netip.MustParseAddr(address), Protocol: reconciler.UDP, Port: c.port}
				traffic, connections := reconciler.SetTraffic, reconciler.SetConnections
				if c.port > 30000 {
					address, e.Address = nodes[i], netip.Addr{}
					traffic, connections = reconciler.SetNodePortTraffic, reconciler.SetNodePortConnections
				}
				before := w.counted(t, e, traffic, connections)
				sent, received := once(t, c.from, address, c.port)
				after := w.counted(t, e, traffic, connections)
				if got := after[1].Packets - before[1].Packets; got != 1 {
					t.Errorf("%d connections", got)
				}
				if got := after[0].Packets - before[0].Packets; got != 2 {
					t.Errorf("%d packets", got)
				}
				if got, want := after[0].Bytes-before[0].Bytes, uint64(sent+received+2*header); got != want {
					t.Errorf("%d bytes, not %d", got, want)
				}
			})
		}
		e := reconciler.Element{Family: f, Address: netip.MustParseAddr(vips[i]), Protocol: reconciler.TCP, Port: 6}
		if got, err := w.podA.ask("tcp", vips[i], 6); err == nil {
			t.Error(got)
		}
		if got := w.counted(t, e, reconciler.SetTraffic, reconciler.SetConnections); got != [2]Count{} {
			t.Errorf("what is refused counts: %+v", got)
		}
	}
}

// What an element counted stays when the endpoints behind it change.
func TestCountersOutliveEndpoints(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podB, "b", podsB)
	e := reconciler.Element{Family: reconciler.IPv4, Address: netip.MustParseAddr(vips[0]), Protocol: reconciler.UDP, Port: 1}
	sets := []([]string){{podsA[0]}, {podsA[0], podsB[0]}, {podsB[0]}}
	for i, endpoints := range sets {
		w.serve(map[uint16][2][]string{1: {endpoints}})
		once(t, w.client, vips[0], 1)
		if got := w.counted(t, e, reconciler.SetTraffic, reconciler.SetConnections); got[1].Packets != uint64(i+1) || got[0].Packets != uint64(2*i+2) {
			t.Errorf("after %d datagrams: %+v", i+1, got)
		}
	}
	w.serve(map[uint16][2][]string{1: {}})
	if got := w.counted(t, e, reconciler.SetTraffic, reconciler.SetConnections); got[1].Packets != uint64(len(sets)) {
		t.Errorf("without endpoints: %+v", got)
	}
	// A counter is no difference, also for one who reads all anew.
	desired := w.target.desired
	expect(t, w.node, w.target, desired)
}

func TestCountersOfPortRanges(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	want := w.ranges8000("a")
	g := &reconciler.Group{Name: "counters"}
	e := reconciler.Element{Family: reconciler.IPv4, Address: netip.MustParseAddr(vips[0]), Protocol: reconciler.UDP, Port: 8000, LastPort: 8999}
	for _, set := range []reconciler.SetName{reconciler.SetRangeTraffic, reconciler.SetRangeConnections} {
		e.Set = set
		g.Objects = append(g.Objects, e)
	}
	groups := []*reconciler.Group{g}
	for g := range want.Groups() {
		groups = append(groups, g)
	}
	want = reconciler.NewState(groups...)
	reach(t, w.target, want)
	once(t, w.podB, vips[0], 8080)
	if got := w.counted(t, e, reconciler.SetRangeTraffic, reconciler.SetRangeConnections); got[0].Packets != 2 || got[1].Packets != 1 {
		t.Errorf("%+v", got)
	}
	expect(t, w.node, w.target, want)
}

func TestCountersWithoutTables(t *testing.T) {
	n := newNetns(t)
	x := target(t, n)
	if all, err := x.Counters(t.Context()); err != nil || len(all) > 0 {
		t.Error(all, err)
	}
	n.run("nft add table ip poplin; nft 'add set ip poplin traffic { type ipv4_addr; }'; nft add element ip poplin traffic { 10.0.0.1 }")
	if all, err := x.Counters(t.Context()); err != nil || len(all) > 0 {
		t.Error(all, err)
	}
}
