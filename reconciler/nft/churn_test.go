package nft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// Churn: how many connections are made, and how many endpoints come or go, in
// a second; and among how many endpoints.
const (
	churnConnections = 2000
	churnChanges     = 10
	churnEndpoints   = 12
	churnClients     = 32 // in each family
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
	c := &churn{w: w, log: map[string][]stay{}}
	for i := range families() {
		c.in[i] = append(c.in[i], pods[i][:churnEndpoints/2]...)
		for _, pod := range c.in[i] {
			c.note(pod, time.Now(), time.Time{})
		}
	}
	engine := reconciler.NewEngine(w.target)
	c.commit(engine)
	var clients sync.WaitGroup
	dialing, stop := context.WithCancel(ctx)
	for i := range families() {
		for k := range churnClients {
			clients.Go(func() { c.dial(dialing, i, k) })
		}
	}
	changes := c.change(engine, pods, duration)
	stop()
	clients.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.judge(t, duration)
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
		var listener net.Listener
		if err := n.do(func() (err error) {
			listener, err = net.Listen("tcp", ":8080")
			return err
		}); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprint(c, from(c.LocalAddr().String()))
				_ = c.Close()
			}
		}()
	}
	return pods
}

// stay is a time in which an endpoint may get connections: from before the
// commit that brings it until that which takes it away is done.
type stay struct{ from, to time.Time } // to is zero as long as it is in

// call is one connection.
type call struct {
	family      int
	start, made time.Time
	pod         string
	err         error
}

type churn struct {
	w       *network
	in      [2][]string // by slot
	slowest time.Duration

	mu    sync.Mutex
	log   map[string][]stay // by endpoint
	calls []call
}

// note opens a stay, or closes the last one.
func (c *churn) note(pod string, from, to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.log[pod]
	if to.IsZero() {
		c.log[pod] = append(list, stay{from: from})
		return
	}
	list[len(list)-1].to = to
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
			c.note(pod, now, time.Time{})
		}
		c.commit(engine)
		now = time.Now()
		for _, pod := range removed {
			c.note(pod, time.Time{}, now)
		}
		<-tick.C
	}
	return n
}

// dial makes the connections of one client. One that is late hurries, so that
// the rate is right. It closes them with a reset, so that ports are free again
// at once.
func (c *churn) dial(ctx context.Context, i, k int) {
	const pause = 2 * churnClients * time.Second / churnConnections
	dialer := net.Dialer{Timeout: 5 * time.Second}
	next := time.Now().Add(pause * time.Duration(k) / churnClients)
	_ = c.w.podA.do(func() error {
		for ; ; next = next.Add(pause) {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Until(next)):
			}
			call := call{family: i, start: time.Now()}
			// The dialer starts no thread of its own for an address and a single
			// family, so that its socket is of this namespace.
			conn, err := dialer.Dial("tcp", net.JoinHostPort(vips[i], "1"))
			call.made = time.Now()
			if err == nil {
				var b []byte
				if err = conn.SetDeadline(time.Now().Add(5 * time.Second)); err == nil {
					b, err = io.ReadAll(conn)
				}
				call.pod = string(b)
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close()
			}
			call.err = err
			c.mu.Lock()
			c.calls = append(c.calls, call)
			c.mu.Unlock()
		}
	})
}

// judge looks at each connection: it reached an endpoint that was in at some
// time between its start and its end.
func (c *churn) judge(t *testing.T, duration time.Duration) {
	t.Helper()
	reached := map[string]int{}
	for _, x := range c.calls {
		switch {
		case x.err != nil:
			what := "failed"
			if errors.Is(x.err, unix.ECONNREFUSED) {
				what = "was refused"
			}
			t.Errorf("after %s a connection %s: %v", x.made.Sub(x.start), what, x.err)
		case !c.allowed(x):
			t.Errorf("a connection to %s, which was not in: %v", x.pod, x.made.Sub(x.start))
		}
		reached[x.pod]++
		if t.Failed() && len(reached) > 40 {
			return
		}
	}
	rate := float64(len(c.calls)) / duration.Seconds()
	t.Logf("%.0f connections a second (figure %d), to %d endpoints", rate, churnConnections, len(reached))
	if len(reached) < churnEndpoints {
		t.Errorf("only %s were reached", strings.Join(sorted(reached), " "))
	}
}

func sorted(m map[string]int) (out []string) {
	for name, n := range m {
		out = append(out, fmt.Sprint(name, "=", n))
	}
	return out
}

func (c *churn) allowed(x call) bool {
	for _, s := range c.log[x.pod] {
		if !x.made.Before(s.from) && (s.to.IsZero() || !x.start.After(s.to)) {
			return true
		}
	}
	return false
}
