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
	x := agreement{network: w, t: t, seen: seen, routes: &routeTable{node: w.node, hops: map[netip.Addr]routed{}}, outcomes: map[Outcome]int{}}
	table := w.agreementTable(frontends)
	var traces []traced
	for _, c := range table {
		trace, err := rules[c.family()].Trace(c.packet(x.routes), x.routes.hop)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		traces = append(traces, traced{c, trace})
		for _, way := range trace.Ways {
			x.outcomes[way.Outcome]++
		}
	}
	// Silences take long and no work; the others must not wait for each other.
	silent := func(c traced) bool { return c.trace.Ways[0].Outcome == Dropped }
	x.run(64, slices.DeleteFunc(slices.Clone(traces), func(c traced) bool { return !silent(c) }))
	x.run(6, slices.DeleteFunc(traces, silent))
	t.Logf("%d connections: %v", len(table), x.outcomes)
	for _, o := range []Outcome{Forwarded, Delivered, Refused, Dropped} {
		if x.outcomes[o] == 0 {
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
	if c.client.sent {
		p.Source = routes.look(c.to.Addr()).source
	} else {
		p.Source = address(c.client.own[c.family()])
	}
	return p
}

// agreement is the comparison of tracer and kernel.
type agreement struct {
	*network
	t        *testing.T
	seen     reconciler.State
	routes   *routeTable
	outcomes map[Outcome]int
}

// traced is a line of the table with what the tracer says.
type traced struct {
	pairing
	trace Trace
}

// run compares lines, several at a time.
func (x *agreement) run(workers int, list []traced) {
	var work sync.WaitGroup
	queue := make(chan traced)
	for range workers {
		work.Go(func() {
			var rules [2]*Ruleset // with clients that stick to endpoints
			for c := range queue {
				got := x.agree(c.pairing, c.trace)
				if c.forgetful || len(c.trace.Ways) == 1 {
					continue
				}
				if rules[0] == nil {
					rules = [2]*Ruleset{NewRuleset(x.seen, reconciler.IPv4), NewRuleset(x.seen, reconciler.IPv6)}
				}
				x.agreeToStay(c.pairing, rules[c.family()], got)
			}
		})
	}
	for _, c := range list {
		queue <- c
	}
	close(queue)
	work.Wait()
}

// agreeToStay sees that a client which sticks to an endpoint is known to.
func (x *agreement) agreeToStay(c pairing, rules *Ruleset, got string) {
	p := c.packet(x.routes)
	clients, err := x.target.ClientsOf(x.t.Context(), p.Source)
	if err != nil {
		x.t.Error(err)
	}
	rules.Add(clients)
	trace, err := rules.Trace(p, x.routes.hop)
	if err != nil || len(trace.Ways) != 1 || x.endOf(trace.Ways[0]) != got {
		x.t.Errorf("%s: %s before, and now traced is%s, %v", c.name, got, describe(trace), err)
	}
}

// family is 0 for IPv4, 1 for IPv6.
func (c pairing) family() int {
	if c.to.Addr().Is6() {
		return 1
	}
	return 0
}

// agree connects until every way of the trace was seen, and nothing else. It
// gives what was seen last.
func (x *agreement) agree(c pairing, trace Trace) (got string) {
	missing := map[string]bool{}
	var all []string
	for _, way := range trace.Ways {
		all = append(all, x.endOf(way))
		missing[x.endOf(way)] = true
	}
	const tries = 300
	for range tries {
		got = c.try(all[0] == string(Dropped))
		if !slices.Contains(all, got) {
			x.t.Errorf("%s: %s, but traced was %q%s", c.name, got, all, describe(trace))
			return got
		}
		delete(missing, got)
		if len(missing) == 0 || !c.forgetful {
			return got
		}
	}
	x.t.Errorf("%s: never %v, as traced%s", c.name, missing, describe(trace))
	return got
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
