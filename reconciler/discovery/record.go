package discovery

import (
	"encoding/binary"
	"net/netip"
)

// TTL is that of every record, in seconds: what clients remember of a change
// for at most.
const TTL = 5

// Types of records (IANA).
const (
	TypeA     uint16 = 1
	TypeNS    uint16 = 2
	TypeCNAME uint16 = 5
	TypeSOA   uint16 = 6
	TypePTR   uint16 = 12
	TypeHINFO uint16 = 13
	TypeTXT   uint16 = 16
	TypeAAAA  uint16 = 28
	TypeSRV   uint16 = 33
	TypeANY   uint16 = 255
)

// question is where a message has the name that it answers: owners of
// records point there, so that they are the same whatever case was asked in.
const question = 12

// pointer is the bit pattern of a compressed name (RFC 1035 4.1.4).
const pointer = 0xc000

// Set is what a name has of one type, as it goes into a message: records in
// wire form, with names that point into the question at offset 12.
type Set struct {
	Type       uint16
	Count      uint16 // records in Answers
	Additional uint16 // records in Extra
	// size is that of each record in Answers, in bytes, where they are alike
	// and their order says nothing.
	size    uint16
	Answers string
	// Extra is for the additional section: the addresses of SRV's targets.
	Extra string
}

// appendRecord adds a record whose owner is at an offset into the message.
func appendRecord(b []byte, owner int, kind uint16, data string) []byte {
	b = binary.BigEndian.AppendUint16(b, pointer|uint16(owner))
	return appendBody(b, kind, data)
}

// appendBody adds what follows the owner of a record.
func appendBody(b []byte, kind uint16, data string) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, 1) // class IN
	b = binary.BigEndian.AppendUint32(b, TTL)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

// greatestCount is how many records a section can have.
const greatestCount = 1<<16 - 1

// newSet prepares records of one type with these data, which have no
// duplicates.
func newSet(kind uint16, data ...string) Set {
	data = data[:min(len(data), greatestCount)]
	var b []byte
	for _, d := range data {
		b = appendRecord(b, question, kind, d)
	}
	s := Set{Type: kind, Count: uint16(len(data)), Answers: string(b)}
	if kind == TypeA || kind == TypeAAAA {
		s.size = uint16(len(b) / len(data))
	}
	return s
}

// addressSets prepares the A and AAAA records of addresses.
func addressSets(list []netip.Addr) []Set {
	var four, six []string
	for _, a := range list {
		if a.Is4() {
			four = append(four, string(a.AsSlice()))
		} else {
			six = append(six, string(a.AsSlice()))
		}
	}
	var out []Set
	if four != nil {
		out = append(out, newSet(TypeA, four...))
	}
	if six != nil {
		out = append(out, newSet(TypeAAAA, six...))
	}
	return out
}

// addressType is the type of the record that holds an address.
func addressType(a netip.Addr) uint16 {
	if a.Is4() {
		return TypeA
	}
	return TypeAAAA
}

// serviceData is what an SRV record says (RFC 2782). All have one priority.
func serviceData(weight, port uint16, target string) string {
	b := binary.BigEndian.AppendUint16(nil, 0)
	b = binary.BigEndian.AppendUint16(b, weight)
	b = binary.BigEndian.AppendUint16(b, port)
	return string(b) + target
}

// Append adds the answers to a message, as many as end before limit, and
// returns how many these are. Addresses start with the one that turn says, so
// that clients which take the first spread over all.
func (s *Set) Append(b []byte, limit int, turn uint32) ([]byte, int) {
	room := limit - len(b)
	if s.size == 0 || s.Count == 1 {
		if len(s.Answers) <= room {
			return append(b, s.Answers...), int(s.Count)
		}
		end, n := 0, 0
		for n < int(s.Count) {
			next := end + 12 + int(binary.BigEndian.Uint16([]byte(s.Answers[end+10:end+12])))
			if next > room {
				break
			}
			end, n = next, n+1
		}
		return append(b, s.Answers[:end]...), n
	}
	size := int(s.size)
	n := max(min(room/size, int(s.Count)), 0)
	first := int(turn%uint32(s.Count)) * size
	end := min(first+n*size, len(s.Answers))
	b = append(b, s.Answers[first:end]...)
	return append(b, s.Answers[:n*size-(end-first)]...), n
}

// Target is the name that a CNAME stands for.
func (s *Set) Target() string { return s.Answers[12:] }

// data lists what the records of the set say.
func (s *Set) data() []string {
	var out []string
	for at := 0; at < len(s.Answers); {
		end := at + 12 + int(binary.BigEndian.Uint16([]byte(s.Answers[at+10:at+12])))
		out = append(out, s.Answers[at+12:end])
		at = end
	}
	return out
}
