package discovery

import (
	"net/netip"
	"strconv"
	"strings"
)

// Names are strings in wire form (RFC 1035 3.1), in lower case: each label
// after its length, a zero at the end. A substring that starts at a label is
// the name of a parent, and costs nothing.

// greatestName is the length in wire form that a name can have (RFC 1035 2.3.4).
const greatestName = 255

// reverseV4 and reverseV6 are where the names of addresses are.
const (
	reverseV4 = "\x07in-addr\x04arpa\x00"
	reverseV6 = "\x03ip6\x04arpa\x00"
)

// Wire turns a name of labels with dots between, with or without one at the
// end, into wire form. The labels must be valid.
func Wire(text string) string {
	var b strings.Builder
	if text = strings.TrimSuffix(text, "."); text != "" {
		for l := range strings.SplitSeq(text, ".") {
			b.WriteString(label(strings.ToLower(l)))
		}
	}
	b.WriteByte(0)
	return b.String()
}

// Text writes a name in wire form with dots, the last one included. Bytes
// that would be read differently are escaped as in zone files.
func Text(name string) string {
	if len(name) <= 1 {
		return "."
	}
	var b strings.Builder
	for at := 0; at < len(name) && name[at] != 0; at += 1 + int(name[at]) {
		end := min(at+1+int(name[at]), len(name))
		for _, c := range []byte(name[at+1 : end]) {
			switch {
			case c <= ' ' || c > '~':
				b.WriteByte('\\')
				b.WriteString(strconv.Itoa(1000 + int(c))[1:])
			case strings.IndexByte(`."();@$\`, c) >= 0:
				b.WriteByte('\\')
				b.WriteByte(c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}

// label is one label in wire form.
func label(text string) string { return string(rune(len(text))) + text }

// parent is the name without its first label.
func parent(name string) string { return name[1+int(name[0]):] }

// dashed is the name that an endpoint or a pod has by its address.
func dashed(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
}

// reverse is the name that an address has below in-addr.arpa or ip6.arpa.
func reverse(a netip.Addr) string {
	var b []byte
	if a.Is4() {
		four := a.As4()
		for i := range four {
			text := strconv.Itoa(int(four[3-i]))
			b = append(append(b, byte(len(text))), text...)
		}
		return string(b) + reverseV4
	}
	sixteen := a.As16()
	for i := range sixteen {
		const digits = "0123456789abcdef"
		c := sixteen[15-i]
		b = append(b, 1, digits[c&15], 1, digits[c>>4])
	}
	return string(b) + reverseV6
}

// reverseZone returns the length of the apex of the reverse zone of ours that
// a name is in; 0 if it is in none. A name is in a zone if all the addresses
// that it stands for are in one range. A range that does not end with a label
// has as many zones as it needs, each with one label more: the name above
// them is half outside, and not ours.
func reverseZone(name []byte, ranges []netip.Prefix) int {
	var starts [128]uint8
	labels := 0
	for at := 0; name[at] != 0; at += 1 + int(name[at]) {
		starts[labels] = uint8(at)
		labels++
	}
	if labels < 2 {
		return 0
	}
	var step, length int // bits of a label, and of an address
	switch string(name[starts[labels-2]:]) {
	case reverseV4:
		step, length = 8, 32
	case reverseV6:
		step, length = 4, 128
	default:
		return 0
	}
	var bytes [16]byte
	known := 0 // labels that are numbers, from the right
	for known < labels-2 && known*step < length {
		at := starts[labels-3-known]
		n, ok := reverseLabel(name[at+1:at+1+name[at]], step)
		if !ok {
			break
		}
		if step == 8 {
			bytes[known] = n
		} else {
			bytes[known/2] |= n << (4 * (1 - known%2))
		}
		known++
	}
	address := netip.AddrFrom16(bytes)
	if step == 8 {
		address = netip.AddrFrom4([4]byte(bytes[:4]))
	}
	for _, p := range ranges {
		need := (p.Bits() + step - 1) / step
		if known >= need && p.Contains(address) {
			return len(name) - int(starts[labels-2-need])
		}
	}
	return 0
}

// reverseLabel reads a byte in decimal, or half a byte in hexadecimal.
func reverseLabel(text []byte, step int) (byte, bool) {
	if step == 4 {
		if len(text) != 1 {
			return 0, false
		}
		switch c := text[0]; {
		case '0' <= c && c <= '9':
			return c - '0', true
		case 'a' <= c && c <= 'f':
			return c - 'a' + 10, true
		}
		return 0, false
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if len(text) == 0 || len(text) > 3 || n > 255 || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	return byte(n), true
}
