package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
)

// ErrUnreachable says that no daemon answers on the socket.
var ErrUnreachable = errors.New("the daemon is not reachable")

// Client speaks to a daemon.
type Client struct{ http http.Client }

// NewClient makes a client for the socket in a run directory. It connects
// when it is used.
func NewClient(runDir string) *Client {
	path := filepath.Join(runDir, SocketName)
	return NewClientOver(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}

// NewClientOver makes a client that gets its connections from elsewhere. An
// error of dial counts as ErrUnreachable.
func NewClientOver(dial func(context.Context) (net.Conn, error)) *Client {
	connect := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "unix", Err: err}
		}
		return conn, nil
	}
	return &Client{http.Client{Transport: &http.Transport{DialContext: connect}}}
}

// Close gives up connections that are kept for later calls.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the node's state.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// StatusCounted is Status with the services' frontends and their counters,
// which take a while to read where services are many.
func (c *Client) StatusCounted(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/v1/status?counters", nil, &s)
}

// Plan asks what would change, with the documents of a tree or with nil
// those of the daemon's directory.
func (c *Client) Plan(ctx context.Context, tree *Tree) (Plan, error) {
	var body any
	if tree != nil {
		body = tree
	}
	var p Plan
	return p, c.call(ctx, http.MethodPost, "/v1/plan", body, &p)
}

// State asks for what the node observes, for planning elsewhere.
func (c *Client) State(ctx context.Context) (State, error) {
	var s State
	return s, c.call(ctx, http.MethodGet, "/v1/state", nil, &s)
}

// ExplainService asks what a service is made of. The error is an *UnknownError
// if there is none of that name.
func (c *Client) ExplainService(ctx context.Context, namespace, name string) (ServiceExplanation, error) {
	var e ServiceExplanation
	path := "/v1/explain/service/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
	return e, c.call(ctx, http.MethodGet, path, nil, &e)
}

// ExplainPacket asks what becomes of a packet. The error is an *UnknownError
// if nobody knows the sender.
func (c *Client) ExplainPacket(ctx context.Context, q PacketQuery) (PacketExplanation, error) {
	var t PacketExplanation
	query := url.Values{"from": {q.From}, "to": {q.To.String()}}
	return t, c.call(ctx, http.MethodGet, "/v1/explain/packet?"+query.Encode(), nil, &t)
}

// Environment asks for the environment variables of a namespace.
func (c *Client) Environment(ctx context.Context, namespace string) (Environment, error) {
	var e Environment
	return e, c.call(ctx, http.MethodGet, "/v1/environment/"+url.PathEscape(namespace), nil, &e)
}

// Reload has the daemon read everything again.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reload", nil, nil)
}

// Rekey has the daemon make another WireGuard key for its node.
func (c *Client) Rekey(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/rekey", nil, nil)
}

// Ack lets a revision through that is held back.
func (c *Client) Ack(ctx context.Context, revision string) error {
	return c.call(ctx, http.MethodPost, "/v1/ack?revision="+url.QueryEscape(revision), nil, nil)
}

// Release frees the claims of a node, or the claim of a subnet.
func (c *Client) Release(ctx context.Context, what string) error {
	return c.call(ctx, http.MethodPost, "/v1/release?what="+url.QueryEscape(what), nil, nil)
}

func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://poplin"+path, &content)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return fmt.Errorf("%w: %v", ErrUnreachable, dial)
		}
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		if answer == nil {
			return nil
		}
		return json.NewDecoder(response.Body).Decode(answer)
	}
	var f failure
	if err := json.NewDecoder(response.Body).Decode(&f); err != nil {
		return fmt.Errorf("the daemon answered %s", response.Status)
	}
	switch response.StatusCode {
	case http.StatusUnprocessableEntity:
		return &InvalidError{f.Diagnostics}
	case http.StatusNotFound:
		return &UnknownError{f.Error}
	}
	return errors.New(f.Error)
}
