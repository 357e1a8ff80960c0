package overlay

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// longest is a head with everything in it.
func longest() Head {
	long := func(n int) string { return strings.Repeat("x", n) }
	return Head{
		Entry: Entry{
			Node: long(63), ID: strings.Repeat("f", idLength), Birth: 1 << 60, Generation: 1 << 20, Version: 1 << 40, Boot: "ffffffff", Stamp: 1 << 60,
			Claims: []Claim{
				{netip.MustParsePrefix("100.100.100.0/24"), 1 << 60, true},
				{netip.MustParsePrefix("fd00:1111:2222:3333::/64"), 1 << 60, true},
			},
		},
		Gossip:    netip.MustParseAddrPort("[fd00:1111:2222:3333:4444:5555:6666:7777]:65535"),
		Underlay:  []netip.Addr{netip.MustParseAddr("100.100.100.100")},
		Transport: Transport{Backend: "wireguard", Port: 65535, VNI: maxVNI, VTEP: "02:00:00:00:00:01", PublicKey: base64.StdEncoding.EncodeToString(make([]byte, 32))},
		MTU:       65535, Revision: long(40), Digest: long(20),
		Rejected: &Rejection{long(20), strings.Repeat("\n", maxRejected)}, Keys: []string{"ffffffff", "ffffffff"}, Ledger: long(16),
	}
}

func TestHeadFits(t *testing.T) {
	if n := longest().fit().size(); n > maxHead {
		t.Errorf("a head of %d bytes", n)
	}
}

func somePods(n int) []PodEntry {
	var out []PodEntry
	for i := range n {
		out = append(out, PodEntry{
			Namespace: strings.Repeat("n", 63), Name: fmt.Sprintf("%s-%03d", strings.Repeat("p", 59), i),
			Addresses: []netip.Addr{netip.MustParseAddr("100.100.100.100"), netip.MustParseAddr("fd00:1111:2222:3333:4444:5555:6666:7777")}, Ready: true,
		})
	}
	return out
}

// No message that is gossiped is too long for memberlist.
func TestDeltasFit(t *testing.T) {
	for n := range 20 {
		before := Record{Head: longest().fit()}
		next := Record{Head: longest().fit(), Pods: somePods(n)}
		for _, pair := range [][2]Record{{before, next}, {next, before}} {
			steps, _ := deltas(pair[0], pair[1])
			for _, d := range steps {
				if size := len(encode(kindDelta, d)); size > maxGossip {
					t.Errorf("%d pods: a message of %d bytes", n, size)
				}
			}
		}
	}
}

func drawRecord(t *rapid.T) Record {
	r := Record{Head: Head{Entry: Entry{Node: "a", ID: strings.Repeat("a", idLength), Generation: 1, Birth: 1, Boot: "1"}}}
	r.MTU = rapid.IntRange(0, 3).Draw(t, "mtu")
	all := somePods(12)
	for _, p := range all {
		if rapid.Bool().Draw(t, "there") {
			p.Ready = rapid.Bool().Draw(t, "ready")
			r.Pods = append(r.Pods, p)
		}
	}
	return r
}

// Deltas in any order, some twice, lead to the record; where some are
// missing the receiver knows it.
func TestDeltaProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent []delta
		last := Record{Head: Head{Entry: drawRecord(t).Entry}}
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			var steps []delta
			steps, last = deltas(last, drawRecord(t))
			sent = append(sent, steps...)
		}
		arrive := rapid.Permutation(append(slices.Clone(sent), sent[0])).Draw(t, "order")
		var s stash
		have := Record{Head: Head{Entry: Entry{Node: "a", ID: last.ID, Generation: 1}}}
		jumped, gap := false, false
		for _, d := range arrive {
			jumped = jumped || d.Jump
			if d.Version > have.Version && !d.Jump {
				s.put(d)
			}
			have, gap = s.advance(have)
		}
		if jumped {
			return // a jump is a gap in itself
		}
		if gap {
			t.Fatalf("a gap at version %d of %d", have.Version, last.Version)
		}
		if !slices.EqualFunc(last.Pods, have.Pods, PodEntry.equal) || have.MTU != last.MTU || have.Version != last.Version {
			t.Fatalf("version %d of %d, pods %v, want %v", have.Version, last.Version, have.Pods, last.Pods)
		}
	})
}

// nobody is a sender into the void.
type nobody struct{}

func (nobody) gossip([]byte)                       {}
func (nobody) send(string, netip.AddrPort, []byte) {}
func (nobody) answersUDP(string) bool              { return true }

// FuzzMessage feeds a node whatever a peer may send: it must survive it, and
// what it then publishes must be what another node accepts.
func FuzzMessage(f *testing.F) {
	head := longest().fit()
	head.Node = "node-2"
	for _, seed := range [][]byte{
		encode(kindDelta, delta{Node: head.Node, ID: head.ID, Generation: head.Generation, Version: head.Version, Head: &head, Set: somePods(1), Gone: []string{"a/b"}}),
		encode(kindDelta, delta{Node: head.Node, ID: head.ID, Generation: head.Generation, Version: 1, Jump: true}),
		encode(kindBury, Tombstone{"10.244.1.0/24", 5}),
		encode(kindWant, want{"node-2", nil}),
		encode(kindWhole, whole{From: "node-2", Records: []Record{{Head: head, Pods: somePods(2)}}}),
		encode(kindCheck, check{head}),
		encode(kindAnswer, answer{From: "node-2", ID: head.ID, Entries: []Entry{head.Entry}, Tombstones: []Tombstone{{"node-3", 7}}}),
		encode(kindState, state{From: "node-2", Have: []have{{"node-3", head.ID, 1, 1}}}),
	} {
		f.Add(seed)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			return
		}
		if _, err := decode(encode(kind(data[1]), m)); err != nil {
			t.Fatalf("%+v does not survive encoding: %v", m, err)
		}
		now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		c := newCore(Options{Node: "node-1", StateDir: dir, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}, disk{identity: identityFile{ID: strings.Repeat("1", idLength), Birth: 1}})
		c.out = nobody{}
		c.saved = now // the disk is not what is tested here
		c.onSettings(Settings{Retention: time.Hour})
		c.handle(evMember{"node-2", netip.MustParseAddrPort("192.0.2.2:7946"), meta{id: head.ID}, true})
		c.handle(evMessage(data))
		c.handle(evMessage(data))
		c.settle()
		if err := c.self.check(); err != nil {
			t.Fatalf("publishes what others refuse: %v", err)
		}
		c.snapshot()
		c.view()
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(meta{strings.Repeat("a", idLength), 1, 2, "01020304"}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMeta(data)
		if err != nil {
			return
		}
		if again, err := decodeMeta(m.encode()); err != nil || again != m {
			t.Fatalf("%+v became %+v: %v", m, again, err)
		}
		decodeVersion(data)
	})
}

func TestMetaIsShort(t *testing.T) {
	if n := len(meta{strings.Repeat("a", idLength), 1, 2, "01020304"}.encode()); n != metaLength || n > 512 {
		t.Errorf("%d bytes", n)
	}
}

func TestReadKeys(t *testing.T) {
	key := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string // part of the error; "" for none
	}{
		"good":           {"# one\n" + key + "\n\n  " + key + "\n", 0o640, ""},
		"world-readable": {key, 0o644, "chmod o="},
		"world-writable": {key, 0o602, "chmod o="},
		"short":          {"AAAA", 0o600, ":1: not a base64 key"},
		"not base64":     {"# key\nhello", 0o600, ":2: not a base64 key"},
		"empty":          {"# nothing\n", 0o600, "no key"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gossip.key")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			keys, err := ReadKeys(path)
			if test.want == "" && (err != nil || len(keys) != 2) {
				t.Errorf("%d keys, %v", len(keys), err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// A state file of another version, or half of one, is refused by name.
func TestBadState(t *testing.T) {
	for _, text := range []string{`{"version":2}`, `{"version":1,"entries":[`, `{"version":1,"entries":5}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileLedger), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Node: "node-1", StateDir: dir}); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, fileLedger)) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

func TestRunTwice(t *testing.T) {
	c := newCluster(t, 1)
	r := c.start(1)
	c.wait("it runs", func() bool { return r.running.Load() })
	if err := r.Run(context.Background()); err == nil {
		t.Error("ran twice")
	}
}
