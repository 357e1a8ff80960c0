//go:build linux

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// Client speaks to the keeper of a running lab.
type Client struct {
	name   string
	socket string
}

// Open finds a running lab. The error is ErrNotRunning if there is none.
func Open(name string) (*Client, error) {
	d, err := OpenDirectory(name)
	if err != nil {
		return nil, err
	}
	alive, err := d.running()
	if err != nil {
		return nil, err
	}
	if !alive {
		return nil, fmt.Errorf("lab %s: %w; `poplin lab up --name %s DIR` starts it", name, ErrNotRunning, name)
	}
	return &Client{name, d.Socket()}, nil
}

// Info asks what there is. It lists pods as the kernel has them.
func (c *Client) Info(ctx context.Context) (*Info, error) {
	r, err := c.ask(ctx, request{Do: doInfo})
	return r.Info, err
}

// Start starts the daemon of a node if it is not running.
func (c *Client) Start(ctx context.Context, node string) error { return c.change(ctx, doStart, node) }

// Stop ends the daemon of a node with SIGTERM and waits until it has gone. The
// descriptors that it has had kept are there for Start, as if its service was
// restarted.
func (c *Client) Stop(ctx context.Context, node string) error { return c.change(ctx, doStop, node) }

// Drop is Stop, and closes those descriptors, too, as if its service was
// stopped.
func (c *Client) Drop(ctx context.Context, node string) error { return c.change(ctx, doDrop, node) }

// Kill ends the daemon of a node with SIGKILL.
func (c *Client) Kill(ctx context.Context, node string) error { return c.change(ctx, doKill, node) }

// Cut takes a host off the underlay; it keeps its link, addresses and routes.
func (c *Client) Cut(ctx context.Context, host string) error { return c.change(ctx, doCut, host) }

// Mend puts a host back on the underlay.
func (c *Client) Mend(ctx context.Context, host string) error { return c.change(ctx, doMend, host) }

// Status asks the daemon of a node for its state. The error is
// api.ErrUnreachable if none answers.
func (c *Client) Status(ctx context.Context, node string) (api.Status, error) {
	daemon := api.NewClientOver(func(ctx context.Context) (net.Conn, error) { return c.dial(ctx, node) })
	defer daemon.Close()
	return daemon.Status(ctx)
}

// dial connects to the daemon of a node.
func (c *Client) dial(ctx context.Context, node string) (net.Conn, error) {
	conn, err := c.connect(ctx, request{Do: doDial, Host: node})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	files, err := receiveOpening(conn)
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", c.name, err)
	}
	defer closeAll(files)
	if _, err := c.receive(conn); err != nil {
		return nil, err
	}
	if len(files) != 1 {
		return nil, fmt.Errorf("lab %s: no connection to %s", c.name, node)
	}
	return net.FileConn(files[0])
}

func (c *Client) change(ctx context.Context, do, host string) error {
	_, err := c.ask(ctx, request{Do: do, Host: host})
	return err
}

// ask does a request without streams.
func (c *Client) ask(ctx context.Context, req request) (reply, error) {
	conn, err := c.connect(ctx, req)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return c.receive(conn)
}

// connect opens a connection and sends a request on it.
func (c *Client) connect(ctx context.Context, req request, files ...*os.File) (*net.UnixConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", c.socket)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w: its keeper has just ended", c.name, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", c.name, err)
	}
	unixConn := conn.(*net.UnixConn)
	req.Version = version
	if err = sendOpening(unixConn, files...); err == nil {
		err = json.NewEncoder(conn).Encode(req)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("lab %s: %w", c.name, err)
	}
	return unixConn, nil
}

func (c *Client) receive(conn net.Conn) (reply, error) {
	var r reply
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return reply{Code: CodeFailed}, fmt.Errorf("lab %s: keeper went away: %w", c.name, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// Command is something to run in a host or a pod.
type Command struct {
	Host string
	Pod  string // [NAMESPACE/]NAME; empty: the host itself
	Args []string
	Env  []string
	// Dir is the working directory; "/" where the host has no such directory.
	Dir                   string
	Stdin, Stdout, Stderr *os.File
	// Signals are sent on to the command's process group. May be nil.
	Signals <-chan os.Signal
}

// Exec runs a command and gives its exit code. With an error the code is
// 125, 126 or 127 as env(1) has them. When the context ends the command gets
// SIGHUP, and SIGKILL two seconds later.
func (c *Client) Exec(ctx context.Context, command Command) (int, error) {
	conn, err := c.connect(ctx, request{
		Do: doExec, Host: command.Host, Pod: command.Pod,
		Args: command.Args, Env: command.Env, Dir: command.Dir,
	}, command.Stdin, command.Stdout, command.Stderr)
	if err != nil {
		return CodeFailed, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ended := make(chan struct{})
	defer close(ended)
	go sendSignals(conn, command.Signals, ended)
	r, err := c.receive(conn)
	return r.Code, err
}

func sendSignals(conn net.Conn, signals <-chan os.Signal, ended <-chan struct{}) {
	encoder := json.NewEncoder(conn)
	for {
		select {
		case <-ended:
			return
		case s := <-signals:
			number, ok := s.(syscall.Signal)
			if !ok || encoder.Encode(forwarded{int(number)}) != nil {
				return
			}
		}
	}
}

// Output runs a command in a host and gives what it wrote to standard
// output. A non-zero exit code is an error with what it wrote to standard
// error.
func (c *Client) Output(ctx context.Context, host string, args ...string) ([]byte, error) {
	return c.OutputPod(ctx, host, "", args...)
}

// OutputPod does the same in a pod, [NAMESPACE/]NAME, of the host.
func (c *Client) OutputPod(ctx context.Context, host, pod string, args ...string) ([]byte, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	var stdout, stderr capture
	if err := errors.Join(stdout.open(), stderr.open()); err != nil {
		return nil, err
	}
	code, err := c.Exec(ctx, Command{Host: host, Pod: pod, Args: args, Env: os.Environ(), Dir: "/",
		Stdin: null, Stdout: stdout.write, Stderr: stderr.write})
	out, diagnostics := stdout.close(), stderr.close()
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(string(diagnostics)))
	}
	if err != nil {
		return out, fmt.Errorf("%s: %s: %w", host, strings.Join(args, " "), err)
	}
	return out, nil
}

// capture collects what is written to a pipe.
type capture struct {
	write *os.File
	data  bytes.Buffer
	done  chan struct{}
}

func (c *capture) open() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	c.write, c.done = write, make(chan struct{})
	go func() {
		defer close(c.done)
		defer read.Close()
		_, _ = io.Copy(&c.data, read) // a pipe's end is its only error
	}()
	return nil
}

func (c *capture) close() []byte {
	c.write.Close()
	<-c.done
	return c.data.Bytes()
}
