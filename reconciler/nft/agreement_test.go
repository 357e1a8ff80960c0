package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// pairing is a line of the table: somebody connects to something.
type pairing struct {
	name     string // "outside → node port of local-c"
	client   party
	protocol string // tcp, udp
	to       netip.AddrPort
	// forgetful connections draw anew each time; others stay.
	forgetful bool
}

// party is where connections come from.
type party struct {
	name string
	in   *netns
	own  [2]string // addresses, IPv4 and IPv6
	sent bool      // it is the node itself
}

// TestTracerAgreesWithTheKernel asks both of them about every pair of client
// and frontend, of every policy and placement of endpoints: the tracer what
// can become of the packet, the kernel by connecting. Servers tell who they
// are and which address they saw.
func TestTracerAgreesWithTheKernel(t *testing.T) {
	w := newNetwork(t)
	frontends := w.agreementServices(t)
	rules := [2]*Ruleset{}
	seen := observe(t, target(t, w.node)).State // by somebody who did not write it
	for i, f := range families() {
		rules[i] = NewRuleset(seen, f)
	}
	routes := &routeTable{node: w.node, hops: map[netip.Addr]routed{}}
	table := w.agreementTable(frontends)
	var work sync.WaitGroup
	queue := make(chan pairing)
	var mu sync.Mutex
	outcomes := map[Outcome]int{}
	for range 64 { // most of them wait until nothing has come
		work.Go(func() {
			for c := range queue {
				i := 0
				if c.to.Addr().Is6() {
					i = 1
				}
				trace, err := rules[i].Trace(c.packet(routes), routes.hop)
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					continue
				}
				mu.Lock()
				for _, way := range trace.Ways {
					outcomes[way.Outcome]++
				}
				mu.Unlock()
				w.agree(t, c, trace)
			}
		})
	}
	for _, c := range table {
		queue <- c
	}
	close(queue)
	work.Wait()
	t.Logf("%d connections: %v", len(table), outcomes)
	for _, o := range []Outcome{Forwarded, Delivered, Refused, Dropped} {
		if outcomes[o] == 0 {
			t.Errorf("nothing was %s: the table is not what it should be", o)
		}
	}
}

// packet is the pairing's first one.
func (c pairing) packet(routes *routeTable) Packet {
	p := Packet{Protocol: reconciler.TCP, Destination: c.to, Sent: c.client.sent}
	if c.protocol == "udp" {
		p.Protocol = reconciler.UDP
	}
	switch {
	case c.client.sent:
		p.Source = routes.look(c.to.Addr()).source
	case c.to.Addr().Is6():
		p.Source = address(c.client.own[1])
	default:
		p.Source = address(c.client.own[0])
	}
	return p
}

// agree connects until every way of the trace was seen, and nothing else.
func (w *network) agree(t *testing.T, c pairing, trace Trace) {
	t.Helper()
	missing := map[string]bool{}
	var all []string
	for _, way := range trace.Ways {
		all = append(all, w.endOf(way))
		missing[w.endOf(way)] = true
	}
	const tries = 300
	for range tries {
		got := c.try(all[0] == string(Dropped))
		if !slices.Contains(all, got) {
			t.Errorf("%s: %s, but traced was %q%s", c.name, got, all, describe(trace))
			return
		}
		delete(missing, got)
		if len(missing) == 0 || !c.forgetful {
			return
		}
	}
	t.Errorf("%s: never %v, as traced%s", c.name, missing, describe(trace))
}

// endOf is the end of a way as a client sees it.
func (w *network) endOf(way Way) string {
	if way.Outcome != Forwarded && way.Outcome != Delivered {
		return string(way.Outcome)
	}
	to := way.Destination.Addr().String()
	for name, list := range map[string][2]string{"a": podsA, "b": podsB, "c": podsC, "node": nodes, "node2": node2s, "client": client} {
		if slices.Contains(list[:], to) && way.Destination.Port() == 8080 {
			return name + " " + way.Source.String()
		}
	}
	if way.Outcome == Delivered {
		return string(Refused) // nobody listens
	}
	return "nobody is at " + way.Destination.String()
}

// try connects once. A silence is waited for only where one is expected.
func (c pairing) try(silence bool) string {
	if silence {
		return c.listen()
	}
	got, err := c.client.in.ask(c.protocol, c.to.Addr().String(), c.to.Port())
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return string(Refused)
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return string(Unrouted)
	case err != nil:
		return err.Error()
	}
	return got
}

// listen sends something that nothing is to come of, and gives what came.
func (c pairing) listen() string {
	const patience = 300 * time.Millisecond
	err := c.client.in.do(func() error {
		conn, err := net.DialTimeout(c.protocol, c.to.String(), patience)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 10))
		return err
	})
	var timeout net.Error
	switch {
	case err == nil:
		return "an answer"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return string(Dropped)
	case c.client.sent && errors.Is(err, unix.EPERM): // a datagram that its own host drops
		return string(Dropped)
	}
	return err.Error()
}

// describe prints a trace below a line.
func describe(trace Trace) string {
	var b strings.Builder
	for _, way := range trace.Ways {
		fmt.Fprintf(&b, "\n  %.0f %% %s %s → %s", 100*way.Share, way.Outcome, way.Source, way.Destination)
		for _, s := range way.Steps {
			fmt.Fprintf(&b, "\n    %s %s: %s → %s", s.Hook, s.Chain, s.Rule, s.Verdict)
		}
	}
	return b.String()
}

// routeTable asks the kernel of a namespace for routes, each once.
type routeTable struct {
	node *netns
	mu   sync.Mutex
	hops map[netip.Addr]routed
}

type routed struct {
	hop    Hop
	source netip.Addr
}

func (r *routeTable) hop(to netip.Addr) Hop { return r.look(to).hop }

func (r *routeTable) look(to netip.Addr) routed {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.hops[to]; ok {
		return known
	}
	out, err := r.node.try("ip route get " + to.String())
	var x routed
	x.hop.Local = strings.HasPrefix(out, "local ")
	if err != nil {
		x.hop.Refused = err.Error()
	}
	words := strings.Fields(out)
	for i, word := range words[:max(len(words)-1, 0)] {
		switch value := words[i+1]; word {
		case "dev":
			x.hop.Link = value
		case "via":
			x.hop.Gateway = address(value)
		case "src":
			x.source = address(value)
		}
	}
	i := 0
	if to.Is6() {
		i = 1
	}
	switch x.hop.Link { // each link has one address
	case "eth0":
		x.hop.Address = address(nodes[i])
	case "br0":
		x.hop.Address = address(bridge[i])
	}
	r.hops[to] = x
	return x
}
