package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/poplin-net/poplin/schema"
)

// SocketName is the name of the socket in the run directory.
const SocketName = "poplin.sock"

// maxRequest bounds a request: a tree of documents and some.
const maxRequest = 128 << 20

// Backend is what the socket serves.
type Backend interface {
	Status() Status
	// Count adds the services' frontends to a status, with what they counted.
	Count(ctx context.Context, s *Status) error
	// Plan says what would change with the documents of a tree, or with nil
	// those of the daemon's own directory.
	Plan(ctx context.Context, tree *Tree) (Plan, error)
	State(ctx context.Context) (State, error)
	// ExplainService says what a service is made of. The error is an
	// *UnknownError if there is none of that name.
	ExplainService(ctx context.Context, namespace, name string) (ServiceExplanation, error)
	// ExplainPacket says what becomes of a packet. The error is an
	// *UnknownError if nobody knows the sender.
	ExplainPacket(ctx context.Context, q PacketQuery) (PacketExplanation, error)
	// Environment lists the environment variables of a namespace.
	Environment(namespace string) (Environment, error)
	Reload(ctx context.Context) error
	Ack(revision string) error
	Release(what string) error
	// Rekey makes another WireGuard key for the node.
	Rekey() error
}

// Tree is a tree of documents that a client sends.
type Tree struct {
	Revision string        `json:"revision"`
	Digest   string        `json:"digest"` // source.Tree's
	Files    []schema.File `json:"files"`
}

// InvalidError says that documents were refused.
type InvalidError struct {
	Diagnostics []schema.Diagnostic `json:"diagnostics"`
}

func (e *InvalidError) Error() string {
	if len(e.Diagnostics) == 0 {
		return "invalid documents"
	}
	d := e.Diagnostics[0]
	return fmt.Sprintf("invalid documents: %s:%d: %s", d.File, d.Line, d.Message)
}

// UnknownError says that there is nothing of a name, and perhaps what else
// there is.
type UnknownError struct{ Message string }

func (e *UnknownError) Error() string { return e.Message }

// Listen opens the socket in a directory that it makes if need be. Group gid
// (if not negative) may use it; others may not.
func Listen(dir string, gid int) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, SocketName)
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s: another daemon is listening there", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	if gid >= 0 {
		// Best effort: in a user namespace with one group it cannot be done.
		_ = os.Chown(path, -1, gid)
	}
	return l, nil
}

// Serve answers requests until ctx ends.
func Serve(ctx context.Context, l net.Listener, b Backend) error {
	server := &http.Server{Handler: handler(b), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		status := b.Status()
		var err error
		if r.URL.Query().Has("counters") {
			err = b.Count(r.Context(), &status)
		}
		reply(w, status, err)
	})
	mux.HandleFunc("POST /v1/plan", func(w http.ResponseWriter, r *http.Request) {
		tree, err := readTree(w, r)
		if err != nil {
			reply(w, nil, err)
			return
		}
		plan, err := b.Plan(r.Context(), tree)
		reply(w, plan, err)
	})
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, r *http.Request) {
		state, err := b.State(r.Context())
		reply(w, state, err)
	})
	mux.HandleFunc("GET /v1/explain/service/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		explanation, err := b.ExplainService(r.Context(), r.PathValue("namespace"), r.PathValue("name"))
		reply(w, explanation, err)
	})
	mux.HandleFunc("GET /v1/explain/packet", func(w http.ResponseWriter, r *http.Request) {
		to, err := ParsePacketTarget(r.URL.Query().Get("to"))
		if err != nil {
			reply(w, nil, err)
			return
		}
		trace, err := b.ExplainPacket(r.Context(), PacketQuery{From: r.URL.Query().Get("from"), To: to})
		reply(w, trace, err)
	})
	mux.HandleFunc("GET /v1/environment/{namespace}", func(w http.ResponseWriter, r *http.Request) {
		environment, err := b.Environment(r.PathValue("namespace"))
		reply(w, environment, err)
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) { reply(w, struct{}{}, b.Reload(r.Context())) })
	mux.HandleFunc("POST /v1/rekey", func(w http.ResponseWriter, _ *http.Request) { reply(w, struct{}{}, b.Rekey()) })
	mux.HandleFunc("POST /v1/ack", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, b.Ack(r.URL.Query().Get("revision")))
	})
	mux.HandleFunc("POST /v1/release", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, b.Release(r.URL.Query().Get("what")))
	})
	return mux
}

// readTree reads the tree of a request; an empty body is no tree.
func readTree(w http.ResponseWriter, r *http.Request) (*Tree, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	var tree Tree
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&tree); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	return &tree, nil
}

// failure is the body of an answer that is not 200.
type failure struct {
	Error       string              `json:"error"`
	Diagnostics []schema.Diagnostic `json:"diagnostics,omitempty"`
}

func reply(w http.ResponseWriter, value any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		f := failure{Error: err.Error()}
		code := http.StatusInternalServerError
		var invalid *InvalidError
		if errors.As(err, &invalid) {
			code, f.Diagnostics = http.StatusUnprocessableEntity, invalid.Diagnostics
		}
		var unknown *UnknownError
		if errors.As(err, &unknown) {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
		value = f
	}
	// A client that went away is no concern of the daemon's.
	_ = json.NewEncoder(w).Encode(value)
}
