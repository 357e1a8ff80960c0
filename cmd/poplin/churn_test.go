//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/lab/bench"
	"github.com/poplin-net/poplin/reconciler/nft/churntest"
)

// What churn is to reach in a second, and with how many clients.
const (
	churnConnections = 2000
	churnChanges     = 10
	churnClients     = 32
)

// churn is a program for scripts: churn DURATION LOG DIRECTORY ADDRESS...
// makes 2,000 connections a second to a service under its addresses, and ten
// times in a second takes a pod of the directory out of it, or into it. Each
// pod has a file, which says in its labels whether it is in. The log is that of
// the daemon of the node on which churn runs: it tells when a change was
// committed. The program fails where a connection fails or reaches a pod that
// was not in, and where it does less than a fifth of what it should.
func churn() {
	const usage = "usage: churn DURATION LOG DIRECTORY ADDRESS..."
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	duration, err := time.ParseDuration(os.Args[1])
	if err == nil {
		err = churnFor(duration, os.Args[2], os.Args[3], os.Args[4:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

func churnFor(duration time.Duration, logFile, dir string, addresses []string) error {
	log, err := bench.FollowLog(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	c := &churner{log: log, load: churntest.Load{Rate: churnConnections, Clients: churnClients, Addresses: addresses,
		Ask: func(conn net.Conn) (string, error) {
			return (&conversation{conn, bufio.NewReader(conn)}).askLast(5 * time.Second)
		}}}
	if c.pods, err = churnPods(dir); err != nil {
		return err
	}
	for _, p := range c.pods {
		if p.in {
			c.load.Joins(p.name(), time.Now())
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for k := range churnClients {
		clients.Go(func() { c.load.Client(ctx, k) })
	}
	err = c.change(ctx, duration)
	stop()
	clients.Wait()
	return errors.Join(err, c.judge())
}

// churnPod is the file of a pod that is in the service, or is not.
type churnPod struct {
	path, text string
	in         bool
}

// What the file says.
const (
	churnIn  = `churn: "in"`
	churnOut = `churn: "out"`
)

// name is what the lab's server in the pod says of itself.
func (p *churnPod) name() string {
	return "default/" + strings.TrimSuffix(filepath.Base(p.path), ".yaml")
}

func churnPods(dir string) ([]*churnPod, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []*churnPod
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		p := &churnPod{path: path, text: string(text), in: strings.Contains(string(text), churnIn)}
		if !p.in && !strings.Contains(p.text, churnOut) {
			return nil, fmt.Errorf("%s: neither %s nor %s", path, churnIn, churnOut)
		}
		out = append(out, p)
	}
	if len(out) < 2 {
		return nil, fmt.Errorf("%s: %d pods", dir, len(out))
	}
	return out, nil
}

// turn replaces the file by one that says the contrary.
func (p *churnPod) turn() error {
	from, to := churnOut, churnIn
	if p.in {
		from, to = to, from
	}
	p.in, p.text = !p.in, strings.Replace(p.text, from, to, 1)
	next := filepath.Join(filepath.Dir(p.path), ".next")
	if err := os.WriteFile(next, []byte(p.text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, p.path)
}

type churner struct {
	load churntest.Load
	log  *bench.Log
	pods []*churnPod
	// took is how long each change took, from the file to the commit.
	took    []time.Duration
	elapsed time.Duration
}

// change lets pods come and go, all in turns and in random order, until the
// time is over. One of them is always in.
func (c *churner) change(ctx context.Context, duration time.Duration) error {
	random := rand.New(rand.NewPCG(1, 2))
	tick := time.NewTicker(time.Second / churnChanges)
	defer tick.Stop()
	start := time.Now()
	defer func() { c.elapsed = time.Since(start) }()
	in := 0
	for _, p := range c.pods {
		if p.in {
			in++
		}
	}
	var order []int
	for ; time.Since(start) < duration; order = order[1:] {
		if len(order) == 0 {
			order = random.Perm(len(c.pods))
		}
		p := c.pods[order[0]]
		switch {
		case !p.in:
			in++
		case in > 1:
			in--
		default:
			continue
		}
		if err := c.turn(ctx, p); err != nil {
			return fmt.Errorf("after %d changes: %s: %w", len(c.took), p.path, err)
		}
		<-tick.C
	}
	return nil
}

// turn makes one change, and waits until it is committed.
func (c *churner) turn(ctx context.Context, p *churnPod) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	start := time.Now()
	if !p.in {
		c.load.Joins(p.name(), start)
	}
	if err := p.turn(); err != nil {
		return err
	}
	applied, err := c.log.Applied(ctx, func(a bench.Applied) bool { return a.Reaction > 0 })
	if err != nil {
		return err
	}
	committed := applied.At.Add(time.Millisecond) // at the latest
	if !p.in {
		c.load.Leaves(p.name(), committed)
	}
	c.took = append(c.took, committed.Sub(start))
	return nil
}

// judge looks at all connections, and prints what there was.
func (c *churner) judge() error {
	const most = 20
	v := c.load.Verdict()
	faults := v.Faults[:min(len(v.Faults), most)]
	changes := float64(len(c.took)) / c.elapsed.Seconds()
	if len(c.took) > 0 {
		slices.Sort(c.took)
		fmt.Printf("%d changes, %.1f a second (figure %d); from the file to the commit %s at the median and %s at most\n",
			len(c.took), changes, churnChanges, c.took[len(c.took)/2].Round(time.Millisecond), c.took[len(c.took)-1].Round(time.Millisecond))
	}
	fmt.Printf("%d connections, %.0f a second (figure %d), to %d pods; %d of them wrong\n",
		v.Connections, v.Rate, churnConnections, len(v.Reached), len(v.Faults))
	if len(v.Reached) < len(c.pods) {
		faults = append(faults, fmt.Errorf("only these were reached: %v", v.Reached))
	}
	if patience*v.Rate < churnConnections || patience*changes < churnChanges {
		faults = append(faults, errors.New("less than a fifth of the load"))
	}
	return errors.Join(faults...)
}
