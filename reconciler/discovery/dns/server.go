package dns

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poplin-net/poplin/reconciler/discovery"
)

// Settings are what can change while a server runs. The zero value of each
// number stands for its default.
type Settings struct {
	// Addresses to listen on, over UDP and TCP; none of them unspecified.
	Addresses []netip.AddrPort
	// Allowed are the clients that may ask.
	Allowed []netip.Prefix
	// Upstreams are asked about other names, up to three, in this order.
	// Without any, those of ResolvConf are ("/etc/resolv.conf" where it is "");
	// if that names systemd-resolved, those of ResolvedConf, which are the ones
	// that resolved itself asks.
	Upstreams    []netip.AddrPort
	ResolvConf   string
	ResolvedConf string
	// Rate is how many queries a second a client may ask, 0: any number.
	Rate int
	// CacheBytes bounds what is remembered of others' answers (8 MiB).
	CacheBytes int
	// InFlight bounds the queries that wait for others (2048), and a quarter
	// of it those of one client.
	InFlight int
	// Connections bounds the TCP connections (512), ConnectionsPerClient those
	// of one client (32).
	Connections, ConnectionsPerClient int
}

// The defaults of numbers.
const (
	defaultInFlight             = 2048
	defaultConnections          = 512
	defaultConnectionsPerClient = 32
)

// greatestSockets is how many UDP sockets an address has at most.
const greatestSockets = 16

// Options are what a server is made of.
type Options struct {
	Zone     *discovery.Zone
	Settings Settings
	Log      *slog.Logger
}

// Server answers questions. Its methods may be used by any goroutine.
type Server struct {
	zone  *discovery.Zone
	log   *slog.Logger
	start time.Time

	mu       sync.Mutex
	settings Settings
	kick     chan struct{}

	access      atomic.Pointer[access]
	tasks       *tally
	connections *connections
	forward     *forwarder
	listeners   *listeners
	// counters are those of the workers, by the number of their socket; the
	// last ones are of everything else.
	counters []counters

	group   sync.WaitGroup
	running context.Context
}

// New makes a server. It does nothing until Run.
func New(o Options) *Server {
	s := &Server{
		zone: o.Zone, log: o.Log, start: time.Now(), kick: make(chan struct{}, 1),
		tasks: newTally(), connections: newConnections(), listeners: &listeners{},
		counters: make([]counters, min(runtime.GOMAXPROCS(0), greatestSockets)+1),
	}
	s.forward = &forwarder{clock: s.clock, log: o.Log, cache: newCache(0), flights: map[string]*flight{}, run: s.spawn}
	s.forward.loops = &loops{clock: s.clock, names: map[string]*upstream{}}
	s.forward.upstreams = &upstreams{run: s.spawn, loops: s.forward.loops}
	s.Configure(o.Settings)
	return s
}

// Configure replaces the settings. Those of addresses take effect soon
// after, all others at once; connections and the cache stay. The slices must
// not be changed afterwards. The same settings again do nothing.
func (s *Server) Configure(settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.settings
	if s.access.Load() != nil && reflect.DeepEqual(before, settings) {
		return
	}
	s.settings = settings
	if now := s.access.Load(); now == nil || !slices.Equal(before.Allowed, settings.Allowed) || before.Rate != settings.Rate {
		s.access.Store(newAccess(settings))
	}
	inFlight := orDefault(settings.InFlight, defaultInFlight)
	s.tasks.limit(inFlight, max(inFlight/4, 1))
	s.connections.limit(orDefault(settings.Connections, defaultConnections), orDefault(settings.ConnectionsPerClient, defaultConnectionsPerClient))
	s.forward.cache.resize(settings.CacheBytes)
	s.forward.upstreams.configure(settings)
	s.poke()
}

// poke has Run look at what is listened on.
func (s *Server) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// clock is the time since the server was made.
func (s *Server) clock() time.Duration { return time.Since(s.start) }

// listenRetry is how soon an address is tried again that could not be
// listened on.
const listenRetry = 2 * time.Second

// Run answers until the context ends. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.running = ctx
	s.mu.Unlock()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.kick:
		case <-retry.C:
		}
		s.mu.Lock()
		want := s.settings.Addresses
		s.mu.Unlock()
		if ctx.Err() != nil {
			break
		}
		if !s.listen(want) {
			retry.Reset(listenRetry)
		}
		s.forward.upstreams.choose(s.clock()) // looks at new ones, before anybody asks
	}
	s.listeners.closeAll()
	s.connections.closeAll()
	cancel()
	s.group.Wait()
	return nil
}

// newWorker makes a worker for what does not come through a UDP socket. Its
// turns start anywhere, for it may have one query only.
func (s *Server) newWorker() *worker {
	return &worker{Server: s, count: &s.counters[len(s.counters)-1], turn: rand.Uint32()}
}

// spawn starts a function that Run waits for, with a context that ends with
// it.
func (s *Server) spawn(f func(context.Context)) {
	s.mu.Lock()
	ctx := s.running
	s.mu.Unlock()
	s.group.Go(func() { f(ctx) })
}
