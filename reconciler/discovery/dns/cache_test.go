package dns

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func testEntry(t *testing.T, name string, records ...string) *entry {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name+".", dns.TypeA)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	e, err := newEntry(question{name: fmt.Sprintf("%c%s\x00", len(name), name), kind: dns.TypeA}, m, 0)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLifetime(t *testing.T) {
	const soa = "x. 600 IN SOA a. b. 1 2 3 4 "
	for _, c := range []struct {
		want    time.Duration
		records []string
	}{
		{60 * time.Second, []string{"x. 60 IN A 192.0.2.1"}},
		{20 * time.Second, []string{"x. 60 IN A 192.0.2.1", "x. 20 IN A 192.0.2.2"}},
		{20 * time.Second, []string{"x. 20 IN CNAME y.", "y. 60 IN A 192.0.2.2"}},
		{time.Hour, []string{"x. 86400 IN A 192.0.2.1"}},
		{0, []string{"x. 0 IN A 192.0.2.1"}},
		{0, []string{"x. 2147483648 IN A 192.0.2.1"}},
		{30 * time.Second, []string{soa + "30"}},
		{5 * time.Minute, []string{soa + "86400"}},
		{10 * time.Second, []string{"x. 10 IN SOA a. b. 1 2 3 4 60"}},
		{30 * time.Second, []string{"x. 60 IN CNAME y.", soa + "30"}},
		{0, nil},
		{0, []string{"x. 60 IN CNAME y."}},
	} {
		if e := testEntry(t, "x", c.records...); e.expires != c.want {
			t.Errorf("%v: %s, want %s", c.records, e.expires, c.want)
		}
	}
}

// TestAge lets an answer become old: its TTLs count down, then it is out of
// date, then it is gone.
func TestAge(t *testing.T) {
	c := newCache(0)
	e := testEntry(t, "x", "x. 60 IN A 192.0.2.1", "x. 90 IN A 192.0.2.2")
	c.put(e)
	for _, step := range []struct {
		at     time.Duration
		first  uint32
		second uint32
	}{{0, 60, 90}, {59 * time.Second, 1, 31}, {60 * time.Second, staleTTL, staleTTL}, {time.Hour, staleTTL, staleTTL}} {
		got := c.get([]byte(e.key), step.at)
		if got == nil {
			t.Fatalf("gone at %s", step.at)
		}
		m, err := got.message(question{name: "\x01x\x00", kind: dns.TypeA}, step.at)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := m.Answer[0].Header().Ttl, m.Answer[1].Header().Ttl; a != step.first || b != step.second {
			t.Errorf("at %s: TTLs %d and %d", step.at, a, b)
		}
	}
	if c.get([]byte(e.key), 2*time.Hour) != nil || c.stats().Entries != 0 || c.stats().Bytes != 0 {
		t.Errorf("still there: %+v", c.stats())
	}
}

func TestCacheKeepsItsLimit(t *testing.T) {
	c := newCache(64 << 10)
	often := testEntry(t, "often", "often. 60 IN A 192.0.2.1")
	c.put(often)
	for i := range 10_000 {
		c.put(testEntry(t, fmt.Sprint("x", i), fmt.Sprintf("x%d. 60 IN A 192.0.2.1", i)))
		if c.get([]byte(often.key), 0) == nil {
			t.Fatalf("what is used often was thrown out after %d", i)
		}
	}
	s := c.stats()
	if s.Bytes > s.Limit || s.Entries < 50 {
		t.Errorf("%+v", s)
	}
	c.resize(1)
	if s := c.stats(); s.Entries != 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestFailureHoldsWhatIsOld(t *testing.T) {
	f := &forwarder{cache: newCache(0)}
	old := testEntry(t, "x", "x. 60 IN A 192.0.2.1")
	f.keep(old)
	now := 2 * time.Minute
	f.keep(&entry{key: old.key, failed: true, stored: now, expires: now + failureTTL})
	got := f.cache.get([]byte(old.key), now)
	if got == nil || got.failed || got.held <= now {
		t.Errorf("%+v", got)
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(10)
	client := func(i int) netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	take := func(at float64) (n int) {
		for l.takeAt(client(1), at) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		at   float64
		want int
	}{{0, 10}, {0, 0}, {0.5, 5}, {0.55, 0}, {10, 10}} {
		if got := take(c.at); got != c.want {
			t.Errorf("at %v: %d, want %d", c.at, got, c.want)
		}
	}
	for i := range 20 * limiterClients {
		if !l.takeAt(client(i+100), 20) {
			t.Fatalf("client %d is limited by others", i)
		}
	}
	for i := range l.shards {
		if n := len(l.shards[i].clients); n > limiterClients {
			t.Errorf("%d clients are remembered", n)
		}
	}
}
