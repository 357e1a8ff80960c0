//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// node is one host as the keeper holds it.
type node struct {
	Host
	index  int
	place  *place
	daemon *daemon // nil: none
}

// keeper owns a lab.
type keeper struct {
	lab      Lab
	log      *slog.Logger
	table    *processes
	underlay *underlay
	nodes    []*node
}

// RunKeeper is the process that owns a lab. It reads a Lab as JSON from
// descriptor 3, builds it, answers there with an empty line or an error, and
// serves the lab's socket until the context ends or, if it is not detached,
// until descriptor 3 is closed at the other end. When it returns its process
// is expected to end, and with it everything else in the lab.
func RunKeeper(ctx context.Context, log *slog.Logger) error {
	launcher := os.NewFile(3, "launcher")
	decoder := json.NewDecoder(launcher)
	var lab Lab
	if err := decoder.Decode(&lab); err != nil {
		return fmt.Errorf("keeper: no lab to keep: %w", err)
	}
	// A terminal that closes must not take the lab with it.
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	k := &keeper{lab: lab, log: log, table: newProcesses()}
	listener, err := k.build()
	if err != nil {
		fmt.Fprintln(launcher, err)
		return err
	}
	fmt.Fprintln(launcher)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if lab.Detached {
		launcher.Close()
	} else {
		go func() {
			_, _ = io.Copy(io.Discard, launcher)
			cancel()
		}()
	}
	return k.run(ctx, listener)
}

// build makes the namespaces and the network. Whatever it has made when it
// fails goes away with the process.
func (k *keeper) build() (net.Listener, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", refused(err))
	}
	if err := mountProc(); err != nil {
		return nil, err
	}
	var err error
	if k.underlay, err = makeUnderlay(); err != nil {
		return nil, err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	for i, host := range k.lab.Hosts {
		setup := mounts{binary: binary, tree: host.Tree, key: k.lab.Key, log: k.log.With("host", host.Name)}
		n := &node{Host: host, index: i}
		if n.place, err = makePlace(host, setup, k.table); err != nil {
			return nil, err
		}
		if err := k.underlay.connect(i, host, n.place); err != nil {
			return nil, fmt.Errorf("host %s: %w", host.Name, err)
		}
		if len(host.Daemon) > 0 {
			store, err := openDescriptorStore(n.place, setup.log)
			if err != nil {
				return nil, fmt.Errorf("host %s: %w", host.Name, err)
			}
			n.daemon = &daemon{host: host, place: n.place, table: k.table, store: store,
				env: environment(k.lab.Env), log: logPath(k.lab.Dir, host.Name)}
		}
		k.nodes = append(k.nodes, n)
	}
	return net.Listen("unix", filepath.Join(k.lab.Dir, socketFile))
}

// run starts the daemons and serves until the context ends.
func (k *keeper) run(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tasks sync.WaitGroup
	var first error
	var once sync.Once
	task := func(run func(context.Context) error) {
		tasks.Go(func() {
			if err := run(ctx); err != nil {
				once.Do(func() { first = err })
			}
			cancel()
		})
	}
	task(k.table.reap)
	task(func(ctx context.Context) error { return k.serve(ctx, listener) })
	if k.lab.Servers {
		followed := newTrees(k.lab.Hosts, k.log)
		task(followed.run)
		for _, n := range k.nodes {
			if n.Tree != "" {
				tasks.Go(func() { newServers(n, followed, k.log).run(ctx) })
			}
		}
	}
	for _, n := range k.nodes {
		if n.daemon == nil {
			continue
		}
		task(n.daemon.store.run)
		if err := n.daemon.start(); err != nil {
			k.log.Error("daemon", "node", n.Name, "error", err)
		}
	}
	<-ctx.Done()
	listener.Close()
	tasks.Wait()
	return first
}

// find gives a host by name.
func (k *keeper) find(name string) (*node, error) {
	for _, n := range k.nodes {
		if n.Name == name {
			return n, nil
		}
	}
	var names []string
	for _, n := range k.nodes {
		names = append(names, n.Name)
	}
	return nil, fmt.Errorf("no host %q in lab %s; there are %s", name, k.lab.Name, strings.Join(names, ", "))
}

// unwanted are variables of the machine's service manager that make no sense
// inside.
var unwanted = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID",
	"LISTEN_FDNAMES", "JOURNAL_STREAM", "INVOCATION_ID"}

// environment makes that of a process in a host: poplin is found first.
func environment(env []string) []string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	var out []string
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if name == "PATH" {
			path = value
		} else if !slices.Contains(unwanted, name) {
			out = append(out, e)
		}
	}
	return append(out, "PATH="+binFolder+":"+path)
}

// searchPath gives the value of PATH.
func searchPath(env []string) string {
	for _, e := range env {
		if value, found := strings.CutPrefix(e, "PATH="); found {
			return value
		}
	}
	return ""
}

// serve answers connections to the lab's socket.
func (k *keeper) serve(ctx context.Context, listener net.Listener) error {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("keeper: %w", err)
		}
		open.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })()
			k.answer(ctx, conn.(*net.UnixConn))
		})
	}
}
