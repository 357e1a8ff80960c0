package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/poplin-net/poplin/reconciler"
)

// sticky sets up services with affinity on port 1 and node port 30001, all
// endpoints but those that are left out. Node ports are Local if wanted.
func (w *network) sticky(timeout time.Duration, local bool, without string) {
	w.t.Helper()
	var ends [2][]string
	for i := range families() {
		for name, a := range map[string]string{"a": podsA[i], "b": podsB[i], "c": podsC[i]} {
			if name != without {
				ends[i] = append(ends[i], a)
			}
		}
	}
	w.serveWith(map[uint16][2][]string{1: ends}, func(s *service) {
		s.affinity = timeout
		if s.nodePort && local {
			s.outsideLocal = true
			for _, e := range s.targets {
				if e.Addr().String() != podsC[0] && e.Addr().String() != podsC[1] {
					s.local = append(s.local, e)
				}
			}
		}
	})
}

// stays connects ten times and gives the endpoint that was always the same.
func (n *netns) stays(t *testing.T, proto, address string, port uint16) string {
	t.Helper()
	first := ""
	for range 10 {
		got, err := n.ask(proto, address, port)
		switch {
		case err != nil:
			t.Errorf("%s port %d: %v", address, port, err)
			return first
		case first == "":
			first = got[:1]
		case got[:1] != first:
			t.Errorf("%s port %d: first %s, then %s", address, port, first, got)
			return first
		}
	}
	return first
}

func TestSessionAffinity(t *testing.T) {
	w := newNetwork(t)
	for name, pod := range map[string]struct {
		n         *netns
		addresses [2]string
	}{"a": {w.podA, podsA}, "b": {w.podB, podsB}, "c": {w.podC, podsC}} {
		w.server(pod.n, name, pod.addresses)
	}
	for i, f := range families() {
		for _, proto := range []string{"tcp", "udp"} {
			t.Run(fmt.Sprint(f, " ", proto), func(t *testing.T) { w.affinity(t, i, proto) })
		}
	}
}

func (w *network) affinity(t *testing.T, i int, proto string) {
	vip, node := vips[i], nodes[i]
	for _, local := range []bool{false, true} {
		w.sticky(3*time.Hour, local, "")
		for _, from := range []*netns{w.podA, w.client, w.node} {
			from.stays(t, proto, vip, 1)
			if at := from.stays(t, proto, node, 30001); local && from == w.client && at == "c" {
				t.Error("a client outside got an endpoint elsewhere")
			}
		}
	}
	// It goes on for the endpoints that stay, and at once ends for one that
	// leaves.
	for range 3 {
		at := w.client.stays(t, proto, vip, 1)
		for _, leaves := range []string{"a", "b", "c"} {
			if leaves == at {
				continue
			}
			w.sticky(3*time.Hour, false, leaves)
			if got := w.client.stays(t, proto, vip, 1); got != at {
				t.Errorf("without %s: from %s to %s", leaves, at, got)
			}
		}
		w.sticky(3*time.Hour, false, at)
		if got := w.client.stays(t, proto, vip, 1); got == at {
			t.Errorf("%s is gone, and is answering", at)
		}
		w.sticky(3*time.Hour, false, "")
	}
	w.serveWith(map[uint16][2][]string{1: {{podsA[0]}, {podsA[1]}}}, nil)
	if list := w.clients(i); len(list) > 0 {
		t.Errorf("without affinity there is still %v", list)
	}
}

var elementOf = regexp.MustCompile(`[0-9a-f.:]+ \. \w+ \. [^,]* expires [0-9hms]+`)

// clients lists the elements of the affinity sets of a family.
func (w *network) clients(i int) []string {
	w.t.Helper()
	var out []string
	for _, set := range []string{"affinity", "node-port-affinity"} {
		text := strings.Join(strings.Fields(w.node.run("nft list set "+string(families()[i])+" poplin "+set)), " ")
		out = append(out, elementOf.FindAllString(text, -1)...)
	}
	return out
}

// expires gives what is left of the one client's time.
func (w *network) expires(t *testing.T, i int) time.Duration {
	t.Helper()
	list := w.clients(i)
	if len(list) != 1 {
		t.Fatalf("the clients are %q", list)
	}
	_, text, _ := strings.Cut(list[0], "expires ")
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAffinityIsRefreshedByUseAndTimesOut(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podB, "b", podsB)
	for i, f := range families() {
		t.Run(string(f), func(t *testing.T) {
			w.sticky(3*time.Hour, false, "c")
			w.client.stays(t, "tcp", vips[i], 1)
			eventually(t, "time to pass", func() bool { return w.expires(t, i) < 3*time.Hour-100*time.Millisecond })
			before := w.expires(t, i)
			w.client.stays(t, "tcp", vips[i], 1)
			if after := w.expires(t, i); after <= before {
				t.Errorf("it expires in %s, and before its use in %s", after, before)
			}
			w.node.run("nft -j list ruleset >/dev/null")
			w.serve(nil)
			w.sticky(time.Second, false, "c")
			w.client.stays(t, "tcp", vips[i], 1)
			eventually(t, "an end of the affinity", func() bool { return len(w.clients(i)) == 0 })
			w.client.stays(t, "tcp", vips[i], 1)
			w.serve(nil)
		})
	}
}

// remember has clients stick to an endpoint by its id, and gives their keys.
func (w *network) remember(t *testing.T, n int) (keys [][]byte) {
	t.Helper()
	set := &nftables.Set{Table: table(reconciler.IPv4), Name: string(reconciler.SetAffinity), HasTimeout: true}
	vip := netip.MustParseAddr(vips[0]).AsSlice()
	var list []nftables.SetElement
	for i := range n {
		key := append(append([]byte(nil), vip...), 6, 0, 0, 0, 0, 99, 0, 0)
		key = binary.BigEndian.AppendUint32(key, uint32(i))
		key = binary.NativeEndian.AppendUint32(key, reconciler.FirstID)
		list = append(list, nftables.SetElement{Key: key, Timeout: time.Hour})
		keys = append(keys, key)
	}
	if err := w.target.conn.SetAddElements(set, list); err != nil {
		t.Fatal(err)
	}
	if err := w.target.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return keys
}

// Clients time out while they are forgotten: the others are forgotten all the
// same, by kernels that are told in one go and by those that are not.
func TestClientsAreForgottenAlthoughSomeAreGone(t *testing.T) {
	w := newNetwork(t)
	w.sticky(3*time.Hour, false, "c")
	for _, noDestroy := range []bool{false, true} {
		w.target.noDestroy = noDestroy
		keys := w.remember(t, 3000)
		for _, at := range []int{0, 7, 1500, 2000, 2999} {
			if err := w.target.deleteKeys(tableSet{reconciler.IPv4, reconciler.SetAffinity}, keys[at:at+1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.target.forget(tableSet{reconciler.IPv4, reconciler.SetAffinity}, keys); err != nil {
			t.Fatal(err)
		}
		if left := w.clients(0); len(left) > 0 {
			t.Errorf("%d clients are left", len(left))
		}
		if changed := w.target.monitor.changed(); len(changed) > 0 {
			t.Error("this is taken for a change by somebody else")
		}
	}
}

// Without room for a client its connections are spread.
func TestFullAffinitySet(t *testing.T) {
	w := newNetwork(t)
	w.server(w.podA, "a", podsA)
	w.server(w.podB, "b", podsB)
	w.sticky(3*time.Hour, false, "c")
	w.remember(t, affinitySize)
	w.tellsFull(t)
	seen := map[string]bool{}
	for i := 0; len(seen) < 2; i++ {
		got, err := w.client.ask("tcp", vips[0], 1)
		if err != nil || i > 100 {
			t.Fatalf("%v after %v", err, seen)
		}
		seen[got[:1]] = true
	}
}

// tellsFull checks that one set, that of IPv4 services, is said to be full.
func (w *network) tellsFull(t *testing.T) {
	t.Helper()
	crowds, err := w.target.Crowds()
	if err != nil {
		t.Fatal(err)
	}
	if len(crowds) == 0 {
		t.Log("this kernel does not count the elements of a set")
	}
	for _, c := range crowds {
		if full := c.Family == reconciler.IPv4 && c.Set == reconciler.SetAffinity; c.Full() != full || c.Size != affinitySize {
			t.Errorf("%+v", c)
		}
	}
}
