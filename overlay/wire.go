package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Messages between nodes are a version byte, a kind byte and JSON. Fields
// are only ever added; what a release does not know it ignores.
const wireVersion = 1

type kind byte

const (
	kindDelta  kind = 'd' // one change of a record, gossiped
	kindBury   kind = 't' // a tombstone, gossiped
	kindWant   kind = 'w' // asks for whole records, reliable
	kindWhole  kind = 'r' // whole records, reliable
	kindCheck  kind = 'c' // asks what stands against the sender's claims, reliable
	kindAnswer kind = 'k' // answers a check, reliable
	kindState  kind = 'v' // which records a node has, in push/pull
)

// Sizes in bytes. A gossiped message must fit into what is left of
// memberlist's 1,400 bytes, else it is skipped silently, for ever.
const (
	maxGossip   = 1000
	maxMessage  = 4 << 20
	maxWhole    = 256 << 10 // after this many bytes of records a new message starts
	maxVector   = 20000
	maxTombs    = 20000
	maxWants    = 4096
	maxStanding = 64
)

// delta is one step of a record: from Version-1 to Version, or to Version
// from wherever if Jump is set, which every receiver treats as a gap.
type delta struct {
	Node       string     `json:"n"`
	ID         string     `json:"i"`
	Generation uint64     `json:"g"`
	Version    uint64     `json:"v"`
	Jump       bool       `json:"x,omitempty"`
	Head       *Head      `json:"h,omitempty"` // nil: as it was but for the version
	Set        []PodEntry `json:"s,omitempty"`
	Gone       []string   `json:"d,omitempty"` // NAMESPACE/NAME
}

// want asks for the whole records of these nodes.
type want struct {
	From  string   `json:"f"`
	Nodes []string `json:"n"`
}

// whole carries records; More follow in further messages. Push says that
// nobody asked.
type whole struct {
	From    string   `json:"f"`
	Records []Record `json:"r"`
	More    bool     `json:"m,omitempty"`
	Push    bool     `json:"p,omitempty"`
	// Tombstones come with the last message if all records were asked for.
	Tombstones []Tombstone `json:"t,omitempty"`
}

// check carries the sender's head and asks for an answer.
type check struct {
	Head Head `json:"h"`
}

// answer says that From has merged the claims of a check, and repeats what it
// knows that stands against them, with its own entry.
type answer struct {
	From       string      `json:"f"`
	ID         string      `json:"i"` // whose check, with its generation and version
	Generation uint64      `json:"g"`
	Version    uint64      `json:"v"`
	Entries    []Entry     `json:"e,omitempty"`
	Tombstones []Tombstone `json:"t,omitempty"`
}

// state is the first thing that two nodes tell each other in a push/pull.
type state struct {
	From       string      `json:"f"`
	Have       []have      `json:"h"`
	Tombstones []Tombstone `json:"t,omitempty"`
}

// have names the state of a record.
type have struct {
	Node       string `json:"n"`
	ID         string `json:"i"`
	Generation uint64 `json:"g"`
	Version    uint64 `json:"v"`
}

// errWireVersion is the refusal of a message of another format.
var errWireVersion = errors.New("version")

func encode(k kind, message any) []byte {
	data, err := json.Marshal(message)
	if err != nil {
		// Only strings, numbers and addresses go in; there is nothing to fail.
		return nil
	}
	return append([]byte{wireVersion, byte(k)}, data...)
}

// decode parses and checks a message: the result is a *delta, *Tombstone,
// *want, *whole, *check, *answer or *state that obeys every limit.
func decode(data []byte) (any, error) {
	if len(data) < 2 {
		return nil, errors.New("truncated")
	}
	if len(data) > maxMessage {
		return nil, errors.New("oversized")
	}
	if data[0] != wireVersion {
		return nil, errWireVersion
	}
	var m interface{ check() error }
	switch kind(data[1]) {
	case kindDelta:
		m = new(delta)
	case kindBury:
		m = new(Tombstone)
	case kindWant:
		m = new(want)
	case kindWhole:
		m = new(whole)
	case kindCheck:
		m = new(check)
	case kindAnswer:
		m = new(answer)
	case kindState:
		m = new(state)
	default:
		return nil, fmt.Errorf("kind %d", data[1])
	}
	if err := json.Unmarshal(data[2:], m); err != nil {
		return nil, err
	}
	return m, m.check()
}

func (d *delta) check() error {
	if err := (Entry{Node: d.Node, ID: d.ID}).check(); err != nil {
		return err
	}
	if d.Head != nil {
		if err := d.Head.check(); err != nil {
			return err
		}
		if d.Head.key() != (recordKey{d.Node, d.ID}) {
			return errors.New("head of another node")
		}
	}
	for _, p := range d.Set {
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

func (w *want) check() error {
	if w.From == "" || len(w.Nodes) > maxWants {
		return fmt.Errorf("%q wants %d records", clip(w.From), len(w.Nodes))
	}
	return nil
}

func (w *whole) check() error {
	if len(w.Tombstones) > maxTombs {
		return fmt.Errorf("%d tombstones", len(w.Tombstones))
	}
	for _, r := range w.Records {
		if err := r.check(); err != nil {
			return err
		}
	}
	return checkTombstones(w.Tombstones)
}

func (c *check) check() error { return c.Head.check() }

func (a *answer) check() error {
	if a.From == "" || len(a.Entries) > 2*maxStanding || len(a.Tombstones) > maxTombs {
		return fmt.Errorf("%d entries, %d tombstones", len(a.Entries), len(a.Tombstones))
	}
	for _, e := range a.Entries {
		if err := e.check(); err != nil {
			return err
		}
	}
	return checkTombstones(a.Tombstones)
}

func (s *state) check() error {
	if s.From == "" || len(s.Have) > maxVector || len(s.Tombstones) > maxTombs {
		return fmt.Errorf("%d records, %d tombstones", len(s.Have), len(s.Tombstones))
	}
	return checkTombstones(s.Tombstones)
}

func checkTombstones(all []Tombstone) error {
	for _, t := range all {
		if err := t.check(); err != nil {
			return err
		}
	}
	return nil
}

// timely reports whether no stamp of the entry is from the far future.
func (e Entry) timely(now time.Time) bool { return !tooFarAhead(e.latest(), now) }
