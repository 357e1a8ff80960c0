package nft

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/nft/churntest"
)

// Churn: how many connections are made, and how many endpoints come or go, in
// a second; and among how many endpoints.
const (
	churnConnections = 2000
	churnChanges     = 10
	churnEndpoints   = 12
	churnClients     = 64 // half of them in each family
)

// Endpoints come and go ten times a second while 2,000 connections a second
// are made to their service. Those that went go on serving, as they should for
// a while: what is asked is who gets new connections. POPLIN_TEST_LONG=1 does
// it for a minute.
func TestEndpointChurn(t *testing.T) {
	duration := 5 * time.Second
	if os.Getenv("POPLIN_TEST_LONG") == "1" {
		duration = time.Minute
	}
	w := newNetwork(t)
	pods := w.churnServers()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.target.Run(ctx) }()
	c := &churn{w: w, load: churntest.Load{Rate: churnConnections, Clients: churnClients, Ask: func(conn net.Conn) (string, error) {
		b, err := io.ReadAll(conn)
		return string(b), err
	}}}
	for i := range families() {
		c.load.Addresses = append(c.load.Addresses, net.JoinHostPort(vips[i], "1"))
		c.in[i] = append(c.in[i], pods[i][:churnEndpoints/2]...)
		for _, pod := range c.in[i] {
			c.load.Joins(pod, time.Now())
		}
	}
	engine := reconciler.NewEngine(w.target)
	c.commit(engine)
	var clients sync.WaitGroup
	dialing, stop := context.WithCancel(ctx)
	for k := range churnClients {
		clients.Go(func() {
			_ = w.podA.do(func() error {
				c.load.Client(dialing, k)
				return nil
			})
		})
	}
	changes := c.change(engine, pods, duration)
	stop()
	clients.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.judge(t)
	t.Logf("%d changes, the commit of one took %s at most", changes, c.slowest.Round(time.Microsecond))
}

// churnServers gives pod b and pod c six addresses more in each family, where
// one server each tells under which it was reached.
func (w *network) churnServers() (pods [2][]string) {
	w.t.Helper()
	for i := range families() {
		for k := range churnEndpoints {
			n, near := w.podB, podsB[i]
			if k%2 == 1 {
				n, near = w.podC, podsC[i]
			}
			address := netip.MustParseAddr(near).As16()
			address[15] = byte(20 + k)
			pod := netip.AddrFrom16(address).Unmap().String()
			n.run("ip address add " + pod + "/" + []string{"24", "64 nodad"}[i] + " dev eth0")
			pods[i] = append(pods[i], pod)
		}
	}
	for _, n := range []*netns{w.podB, w.podC} {
		w.answer(n, func(c net.Conn) string { return from(c.LocalAddr().String()) })
	}
	return pods
}

type churn struct {
	w       *network
	in      [2][]string // by slot
	slowest time.Duration
	load    churntest.Load
}

// commit runs a round for the endpoints that are in.
func (c *churn) commit(engine *reconciler.Engine) {
	c.w.t.Helper()
	desired := reconciler.Desired{State: c.w.desired(map[uint16][2][]string{1: c.in}, nil), Complete: true}
	r := engine.Converge(context.Background(), func(reconciler.Observation) (reconciler.Desired, error) { return desired, nil })
	if !r.Settled() {
		c.w.t.Fatal(r.Err, r.Conflicts)
	}
	c.slowest = max(c.slowest, r.Took)
}

// change adds or removes endpoints at random until the time is over.
func (c *churn) change(engine *reconciler.Engine, pods [2][]string, duration time.Duration) int {
	c.w.t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	tick := time.NewTicker(time.Second / churnChanges)
	defer tick.Stop()
	n := 0
	for end := time.Now().Add(duration); time.Now().Before(end); n++ {
		k := random.IntN(churnEndpoints)
		var added, removed []string
		for i := range families() {
			pod := pods[i][k]
			at := slices.Index(c.in[i], pod)
			switch {
			case at < 0:
				c.in[i] = append(c.in[i], pod)
				added = append(added, pod)
			case len(c.in[i]) > 1: // the last one moves into its slot
				last := len(c.in[i]) - 1
				c.in[i][at] = c.in[i][last]
				c.in[i] = c.in[i][:last]
				removed = append(removed, pod)
			}
		}
		now := time.Now()
		for _, pod := range added {
			c.load.Joins(pod, now)
		}
		c.commit(engine)
		now = time.Now()
		for _, pod := range removed {
			c.load.Leaves(pod, now)
		}
		<-tick.C
	}
	return n
}

// judge looks at all connections.
func (c *churn) judge(t *testing.T) {
	t.Helper()
	v := c.load.Verdict()
	for _, err := range v.Faults[:min(len(v.Faults), 40)] {
		t.Error(err)
	}
	t.Logf("%.0f connections a second (figure %d), to %d endpoints", v.Rate, churnConnections, len(v.Reached))
	if len(v.Reached) < churnEndpoints {
		t.Errorf("only these were reached: %v", v.Reached)
	}
}
