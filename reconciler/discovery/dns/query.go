package dns

import "encoding/binary"

// Parts of a message's header (RFC 1035 4.1.1).
const (
	headerSize = 12

	flagResponse      = 1 << 15
	opcodeMask        = 15 << 11
	flagAuthoritative = 1 << 10
	flagTruncated     = 1 << 9
	flagRecursion     = 1 << 8 // desired
	flagAvailable     = 1 << 7
	flagAuthentic     = 1 << 5
	flagUnchecked     = 1 << 4
)

// Response codes (IANA).
const (
	noError  = 0
	formErr  = 1
	servFail = 2
	nxDomain = 3
	notImp   = 4
	refused  = 5
	badVers  = 16
)

// Sizes of UDP messages in bytes.
const (
	plainSize     = 512  // without EDNS (RFC 1035)
	greatestSize  = 4096 // that a client may ask for
	preferredSize = 1232 // that we ask for: fits into every packet without fragments
	greatestTCP   = 65535
	greatestName  = 255
	optionSize    = 11 // of an OPT record without options
)

// query is a question and what came with it.
type query struct {
	id, flags  uint16
	asked      []byte // the question section as it was asked, part of the packet
	name       []byte // in lower case, part of buffer
	kind       uint16
	class      uint16
	edns       bool // there is an OPT record
	size       int  // of answers over UDP, in bytes
	version    uint8
	secure     bool // the DO bit: records about signatures are welcome
	buffer     [greatestName]byte
	keyStorage [greatestName + 3]byte
}

// verdict says what becomes of a packet.
type verdict uint8

const (
	dropped   verdict = iota // no answer: not a query at all
	malformed                // FORMERR
	unknown                  // NOTIMP
	understood
)

// parse reads a packet. It takes what servers have to take, and no more: one
// question, no compression in it, EDNS at most once, nothing at the end.
func (q *query) parse(p []byte) verdict {
	if len(p) < headerSize {
		return dropped
	}
	q.id, q.flags = binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	q.asked, q.name, q.kind, q.class = nil, nil, 0, 0
	q.edns, q.size, q.version, q.secure = false, plainSize, 0, false
	switch {
	case q.flags&flagResponse != 0:
		return dropped // answering answers goes on for ever
	case q.flags&opcodeMask != 0:
		return unknown
	case binary.BigEndian.Uint16(p[4:]) != 1:
		return malformed
	}
	at := q.readQuestion(p)
	if at < 0 {
		return malformed
	}
	if q.kind == typeIXFR || q.kind == typeAXFR {
		return understood // IXFR has a record in its authority section; both are refused
	}
	if binary.BigEndian.Uint32(p[6:]) != 0 || !q.readAdditional(p, at, int(binary.BigEndian.Uint16(p[10:]))) {
		return malformed
	}
	return understood
}

// readQuestion reads the question and returns where it ends, -1 for a broken one.
func (q *query) readQuestion(p []byte) int {
	at := headerSize
	for {
		if at >= len(p) {
			return -1
		}
		n := int(p[at])
		if n > 63 || at+1+n-headerSize > greatestName {
			return -1
		}
		at += 1 + n
		if n == 0 {
			break
		}
	}
	if at+4 > len(p) {
		return -1
	}
	n := at - headerSize
	// Lengths are below 64, so that none is taken for a letter.
	for i, c := range p[headerSize:at] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		q.buffer[i] = c
	}
	q.name, q.asked = q.buffer[:n], p[headerSize:at+4]
	q.kind, q.class = binary.BigEndian.Uint16(p[at:]), binary.BigEndian.Uint16(p[at+2:])
	return at + 4
}

// readAdditional reads the additional section, of which only EDNS counts
// (RFC 6891). It reports whether the packet ends with it.
func (q *query) readAdditional(p []byte, at, count int) bool {
	for range count {
		root := at < len(p) && p[at] == 0
		if at = skipName(p, at); at < 0 || at+10 > len(p) {
			return false
		}
		kind := binary.BigEndian.Uint16(p[at:])
		end := at + 10 + int(binary.BigEndian.Uint16(p[at+8:]))
		if end > len(p) {
			return false
		}
		if kind == typeOPT {
			if q.edns || !root {
				return false
			}
			q.edns, q.version, q.secure = true, p[at+5], p[at+6]&0x80 != 0
			q.size = min(max(int(binary.BigEndian.Uint16(p[at+2:])), plainSize), greatestSize)
		}
		at = end
	}
	return at == len(p)
}

// skipName returns where a name ends that starts at an offset, -1 if it does
// not.
func skipName(p []byte, at int) int {
	for at < len(p) {
		switch n := int(p[at]); {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			if at+2 > len(p) {
				return -1
			}
			return at + 2
		case n > 63:
			return -1
		default:
			at += 1 + n
		}
	}
	return -1
}

// key names the question in the cache and among those under way. It is valid
// until the next query is parsed.
func (q *query) key() []byte {
	b := append(q.keyStorage[:0], q.name...)
	return append(b, byte(q.kind>>8), byte(q.kind), q.extras())
}

// extras tells questions apart that have different answers otherwise.
func (q *query) extras() byte {
	var b byte
	if q.secure {
		b |= 1
	}
	if q.flags&flagUnchecked != 0 {
		b |= 2
	}
	return b
}

// header appends the header and the question of an answer, without counts
// other than the question's.
func (q *query) header(b []byte, flags uint16, rcode int) []byte {
	flags |= flagResponse | flagAvailable | q.flags&(opcodeMask|flagRecursion|flagUnchecked) | uint16(rcode&15)
	b = binary.BigEndian.AppendUint16(b, q.id)
	b = binary.BigEndian.AppendUint16(b, flags)
	questions := byte(0)
	if q.asked != nil {
		questions = 1
	}
	b = append(b, 0, questions, 0, 0, 0, 0, 0, 0)
	return append(b, q.asked...)
}

// finish appends the OPT record, if the query had one.
func (q *query) finish(b []byte, rcode int) []byte {
	if !q.edns {
		return b
	}
	var secure byte
	if q.secure {
		secure = 0x80
	}
	addCount(b, additionalCount, 1)
	return append(b, 0, 0, typeOPT, preferredSize>>8, preferredSize&255, byte(rcode>>4), 0, secure, 0, 0, 0)
}

// Where a message has the numbers of its records.
const (
	answerCount     = 6
	authorityCount  = 8
	additionalCount = 10
)

// addCount adds to one of the counts.
func addCount(b []byte, at, n int) {
	binary.BigEndian.PutUint16(b[at:], binary.BigEndian.Uint16(b[at:])+uint16(n))
}

// truncate says that there is more to be had over TCP.
func truncate(b []byte) { b[2] |= flagTruncated >> 8 }

// plain makes an answer without records.
func (q *query) plain(b []byte, rcode int) []byte {
	return q.finish(q.header(b, 0, rcode), rcode)
}
