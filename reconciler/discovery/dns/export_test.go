package dns

import "net/netip"

// Handle makes a function that answers packets from this host as a worker
// does. The answer is valid until the next one.
func Handle(s *Server) func([]byte) []byte {
	handle := HandleFrom(s)
	host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	return func(p []byte) []byte { return handle(p, host) }
}

// HandleFrom makes a function that answers packets to 10.96.0.10.
func HandleFrom(s *Server) func([]byte, netip.Addr) []byte {
	w := &worker{Server: s, count: &s.counters[0]}
	buffer := make([]byte, 0, greatestSize)
	own := netip.AddrFrom4([4]byte{10, 96, 0, 10})
	return func(p []byte, from netip.Addr) []byte {
		reply, _ := w.handle(buffer, packet{data: p, client: from, server: own})
		return reply
	}
}

// TryListen opens the sockets of an address, and closes them.
func TryListen(s *Server, a netip.AddrPort) error {
	l, err := openListener(a, 1)
	if err == nil {
		l.close()
	}
	return err
}

// LookAtUpstreams reads where the upstreams come from, as a question does.
func LookAtUpstreams(s *Server) { s.forward.upstreams.current(s.clock()) }

// Trust forgets that upstreams loop.
func Trust(s *Server) {
	for _, u := range s.forward.upstreams.list {
		u.mu.Lock()
		u.loops, u.checked = false, false
		u.mu.Unlock()
	}
}
