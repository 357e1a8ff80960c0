package dns

import (
	"container/list"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"
)

// Bounds of what is remembered.
const (
	greatestTTL     = time.Hour
	greatestNoTTL   = 5 * time.Minute // of answers that there is nothing
	failureTTL      = 2 * time.Second // nobody had an answer: don't ask again at once (RFC 9520)
	staleFor        = time.Hour       // after it is out of date, while nobody has a newer one (RFC 8767)
	staleTTL        = 30              // seconds, what clients are told of such an answer
	staleHeld       = 10 * time.Second
	entryOverhead   = 256 // bytes, of maps, lists and headers, about
	cacheShards     = 16
	defaultCacheMax = 8 << 20
)

// entry is an answer of others. It never changes.
type entry struct {
	key   string
	body  []byte // all sections behind the question
	ttls  []int  // where the body has TTLs
	count [3]uint16
	rcode uint8
	flags uint16
	// stored and expires are on the server's clock.
	stored, expires time.Duration
	failed          bool // nobody had an answer; never stale
	// held is until when an answer that is out of date is good enough to be
	// given at once: nobody had a newer one just before.
	held time.Duration
}

func (e *entry) fresh(now time.Duration) bool { return now < e.expires }

// usable reports whether the answer may be given if nobody has a newer one.
func (e *entry) usable(now time.Duration) bool { return !e.failed && now < e.expires+staleFor }

func (e *entry) size() int { return entryOverhead + len(e.key) + len(e.body) + 8*len(e.ttls) }

// reply appends an answer made of the entry. One that does not fit has no
// records at all: clients come again over TCP.
func (e *entry) reply(b []byte, q *query, limit int, now time.Duration) []byte {
	b = q.header(b, e.flags, int(e.rcode))
	if q.edns {
		limit -= optionSize
	}
	if len(b)+len(e.body) > limit {
		truncate(b)
		return q.finish(b, int(e.rcode))
	}
	start := len(b)
	b = append(b, e.body...)
	for i, n := range e.count {
		addCount(b, answerCount+2*i, int(n))
	}
	age := uint32((now - e.stored) / time.Second)
	for _, at := range e.ttls {
		field := b[start+at : start+at+4]
		left := uint32(staleTTL)
		if e.fresh(now) {
			left = binary.BigEndian.Uint32(field)
			left -= min(age, left)
		}
		binary.BigEndian.PutUint32(field, left)
	}
	return q.finish(b, int(e.rcode))
}

// cache remembers answers of others, those used last.
type cache struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	sync.Mutex
	limit, size int // bytes
	byKey       map[string]*list.Element
	used        list.List // of *entry, the last used first
}

func newCache(limit int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].byKey = map[string]*list.Element{}
	}
	c.resize(limit)
	return c
}

// resize sets the limit in bytes, 0 for the default.
func (c *cache) resize(limit int) {
	if limit == 0 {
		limit = defaultCacheMax
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		s.limit = limit / cacheShards
		s.shrink()
		s.Unlock()
	}
}

// get returns what there is, fresh or usable; nil for nothing.
func (c *cache) get(key []byte, now time.Duration) *entry {
	s := &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
	s.Lock()
	defer s.Unlock()
	found := s.byKey[string(key)]
	if found == nil {
		return nil
	}
	e := found.Value.(*entry)
	if !e.fresh(now) && !e.usable(now) {
		s.remove(found)
		return nil
	}
	s.used.MoveToFront(found)
	return e
}

// put remembers an answer instead of an earlier one.
func (c *cache) put(e *entry) {
	s := &c.shards[maphash.String(c.seed, e.key)%cacheShards]
	s.Lock()
	defer s.Unlock()
	if found := s.byKey[e.key]; found != nil {
		s.remove(found)
	}
	s.byKey[e.key] = s.used.PushFront(e)
	s.size += e.size()
	s.shrink()
}

func (s *cacheShard) shrink() {
	for s.size > s.limit && s.used.Len() > 0 {
		s.remove(s.used.Back())
	}
}

func (s *cacheShard) remove(element *list.Element) {
	e := s.used.Remove(element).(*entry)
	delete(s.byKey, e.key)
	s.size -= e.size()
}

func (c *cache) stats() CacheStats {
	var out CacheStats
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		out.Entries += s.used.Len()
		out.Bytes += s.size
		out.Limit += s.limit
		s.Unlock()
	}
	return out
}
