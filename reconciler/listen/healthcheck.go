package listen

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// HealthCheck is what a node tells of a service to outer load balancers.
type HealthCheck struct {
	Namespace, Name string
	// Ready counts the endpoints on this node that take new connections.
	Ready int
	// Healthy says that the daemon keeps the kernel as it is to be.
	Healthy bool
}

// healthAnswer is the body, as kube-proxy's has it
// (kubernetes/kubernetes, pkg/proxy/healthcheck/service_health.go).
type healthAnswer struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

// Limits of a health check, which is a short question by few.
const (
	maxAsking    = 64 // connections of one socket
	askTimeout   = 3 * time.Second
	maxAskHeader = 8 << 10 // bytes
)

// serveHealthCheck answers until the listener is closed or ctx ends.
func (l *Listeners) serveHealthCheck(ctx context.Context, at netip.AddrPort, listener net.Listener) {
	server := &http.Server{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.answer(w, r, at) }),
		ReadTimeout: askTimeout, WriteTimeout: askTimeout, IdleTimeout: askTimeout, MaxHeaderBytes: maxAskHeader,
		ErrorLog: log.New(io.Discard, "", 0), // anybody may send nonsense
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	_ = server.Serve(&limited{Listener: listener, slots: make(chan struct{}, maxAsking)}) // ends by closing
	server.Close()
}

// answer says whether this node has an endpoint. The daemon's own health is
// told, but does not count: a daemon in trouble leaves a data plane that works,
// and one cause of trouble may be there on all nodes.
func (l *Listeners) answer(w http.ResponseWriter, r *http.Request, at netip.AddrPort) {
	s, ok := l.socket(at)
	if !ok || s.HealthCheck == nil || !s.within(r.Context().Value(http.LocalAddrContextKey)) {
		http.NotFound(w, r)
		return
	}
	h := s.HealthCheck
	var body healthAnswer
	body.Service.Namespace, body.Service.Name = h.Namespace, h.Name
	body.LocalEndpoints, body.ServiceProxyHealthy = h.Ready, h.Healthy
	text, err := json.MarshalIndent(body, "", "\t")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(h.Ready))
	if h.Ready == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(text, '\n')) // the client is free to leave
}

// within reports whether a connection came to an address that answers.
func (s Socket) within(local any) bool {
	a, ok := local.(*net.TCPAddr)
	if !ok || len(s.Within) == 0 {
		return ok
	}
	address := a.AddrPort().Addr().Unmap()
	return slices.ContainsFunc(s.Within, func(p netip.Prefix) bool { return p.Contains(address) })
}

// limited is a listener that leaves connections in the kernel's queue while
// there are enough.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: c, slots: l.slots}, nil
}

type counted struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}
