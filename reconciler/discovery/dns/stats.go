package dns

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// counters are counted by one worker, so that workers don't wait for each
// other's; anybody reads them.
type counters struct {
	kinds                            [len(kinds)]atomic.Uint64
	rcodes                           [len(rcodes)]atomic.Uint64
	zone, cached, stale, forwarded   atomic.Uint64
	dropped, strangers, limited, tcp atomic.Uint64
	busy                             atomic.Uint64
	_                                [64]byte // the next one is in another line of the cache
}

func (c *counters) rcode(code int) { c.rcodes[min(code, len(rcodes)-1)].Add(1) }

// Stats are what a server has done since it was made.
type Stats struct {
	// Ready says that there is a zone to answer from.
	Ready bool `json:"ready"`
	// Names that have records in the zone.
	Names int `json:"names"`
	// Queries by type and by the code of the answer. Packets that are no
	// queries, or are not answered, are in neither.
	Queries map[string]uint64 `json:"queries"`
	Rcodes  map[string]uint64 `json:"rcodes"`
	// Where answers came from: the zone, the cache, others' answers that are
	// out of date, others.
	Zone      uint64 `json:"zone"`
	Cached    uint64 `json:"cached"`
	Stale     uint64 `json:"stale"`
	Forwarded uint64 `json:"forwarded"`
	// TCP counts the queries that came over TCP, which are also above.
	TCP uint64 `json:"tcp"`
	// Dropped are packets that are no queries, Refused those from clients
	// that may not ask, Limited those above the limit of their client, Busy
	// those refused since too many were under way.
	Dropped uint64 `json:"dropped"`
	Refused uint64 `json:"refused"`
	Limited uint64 `json:"limited"`
	Busy    uint64 `json:"busy"`
	// InFlight and Connections are those of now.
	InFlight    int             `json:"inFlight"`
	Connections int             `json:"connections"`
	Cache       CacheStats      `json:"cache"`
	Upstreams   []UpstreamStats `json:"upstreams"`
	Listeners   []ListenerStats `json:"listeners"`
	// Problems are what an operator should know, each a sentence.
	Problems []string `json:"problems,omitempty"`
}

// CacheStats is what there is in the cache of others' answers.
type CacheStats struct {
	Entries int `json:"entries"`
	Bytes   int `json:"bytes"`
	Limit   int `json:"limit"`
}

// UpstreamStats is what is known of an upstream.
type UpstreamStats struct {
	Address netip.AddrPort `json:"address"`
	// State is up, down or loops: its questions come back to us.
	State    string        `json:"state"`
	Queries  uint64        `json:"queries"`
	Failures uint64        `json:"failures"` // no answer, or not one to this question
	Latency  time.Duration `json:"latencyNanoseconds"`
}

// ListenerStats is an address that is listened on, or that cannot be.
type ListenerStats struct {
	Address netip.AddrPort `json:"address"`
	Error   string         `json:"error,omitempty"`
}

// Stats adds up what was counted.
func (s *Server) Stats() Stats {
	out := Stats{Queries: map[string]uint64{}, Rcodes: map[string]uint64{}}
	if table := s.zone.Table(); table != nil {
		out.Ready, out.Names = true, table.Names()
	}
	for i := range s.counters {
		c := &s.counters[i]
		for k := range kinds {
			out.Queries[kinds[k].name] += c.kinds[k].Load()
		}
		for r, name := range rcodes {
			out.Rcodes[name] += c.rcodes[r].Load()
		}
		out.Zone += c.zone.Load()
		out.Cached += c.cached.Load()
		out.Stale += c.stale.Load()
		out.Forwarded += c.forwarded.Load()
		out.TCP += c.tcp.Load()
		out.Dropped += c.dropped.Load()
		out.Refused += c.strangers.Load()
		out.Limited += c.limited.Load()
		out.Busy += c.busy.Load()
	}
	out.InFlight, out.Connections = s.tasks.count(), s.connections.count()
	out.Cache = s.forward.cache.stats()
	out.Upstreams = s.forward.stats()
	out.Listeners = s.listeners.stats()
	for _, l := range out.Listeners {
		if l.Error != "" {
			out.Problems = append(out.Problems, "DNS does not listen on "+l.Address.String()+": "+l.Error)
		}
	}
	out.Problems = append(out.Problems, s.forward.problems()...)
	return out
}
