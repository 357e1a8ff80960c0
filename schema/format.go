package schema

import (
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// format is a kind of string that the JSON Schema names with its keyword
// format.
type format struct {
	what string // continues "must be "
	ok   func(string) bool
}

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	labelPart    = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	portName     = regexp.MustCompile(`^[a-z0-9]([a-z0-9]*(-[a-z0-9]+)*)$`)
	kindName     = regexp.MustCompile(`^(\*|[A-Z][A-Za-z0-9]*(\.[a-z0-9]([-.a-z0-9]*[a-z0-9])?)?)$`)
	netSysctl    = regexp.MustCompile(`^net([./][a-zA-Z0-9_-]+)+$`)
	linkName     = regexp.MustCompile(`^[^\s/:%]{1,15}$`)
	macAddress   = regexp.MustCompile(`^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$`)
	wholeNumber  = regexp.MustCompile(`^[0-9]{1,9}$`)
	percentRange = regexp.MustCompile(`^(100|[0-9]{1,2})%$`)
)

// formats lists the formats of the schema by name.
func formats() map[string]format {
	ok := func(what string, check func(string) bool) format { return format{what, check} }
	optional := func(f format) format {
		return format{f.what, func(s string) bool { return s == "" || f.ok(s) }}
	}
	label := ok("a DNS label (a-z, 0-9 and - inside, at most 63 characters)", isDNSLabel)
	name := ok("a DNS name (labels of a-z, 0-9 and - inside, with dots between, at most 253 characters)", isDNSName)
	port := ok("a port name (a-z, 0-9, single - inside, at least one letter, at most 15 characters) or a number without quotes", isPortName)
	return map[string]format{
		"dns-label":           label,
		"optional-dns-label":  optional(label),
		"dns-name":            name,
		"optional-node-name":  optional(name),
		"port-name":           port,
		"optional-port-name":  optional(port),
		"label-key":           ok("a label key (an optional DNS name and /, then at most 63 characters of A-Z, a-z, 0-9 and - _ . inside)", isLabelKey),
		"label-value":         ok("a label value (at most 63 characters of A-Z, a-z, 0-9 and - _ . inside)", isLabelValue),
		"cidr":                ok("a range such as 10.244.0.0/16, without host bits", isCIDR),
		"ip":                  ok("an IP address", isIP),
		"optional-ip":         ok("an IP address", func(s string) bool { return s == "" || isIP(s) }),
		"ip-list":             ok("one or two IP addresses with a comma between, one of each family", func(s string) bool { _, ok := parseIPList(s); return ok }),
		"ip-port":             ok("an IP address, with or without a port (192.0.2.1:8286, [2001:db8::1]:8286)", func(s string) bool { _, ok := parseIPPort(s); return ok }),
		"ip-range":            ok("an IP address, a range of them (10.0.0.5-10.0.0.9) or a CIDR", func(s string) bool { _, ok := parseAddrRange(s); return ok }),
		"search-domain":       ok("a domain such as example.com, or a single dot", isSearchDomain),
		"resolver-option":     ok("a word without : and space", func(s string) bool { return !strings.ContainsAny(s, ": \t\n\r\x00") }),
		"cluster-ip":          ok("an IP address, None or empty", func(s string) bool { return s == "" || s == "None" || isIP(s) }),
		"duration-positive":   ok("a time span such as 72h or 90m, above zero", func(s string) bool { d, err := time.ParseDuration(s); return err == nil && d > 0 }),
		"port-range":          ok("two ports with - between, the first not above the second (30000-32767)", func(s string) bool { _, ok := parsePortRange(s); return ok }),
		"node-port-address":   ok("primary, all or a CIDR without host bits", func(s string) bool { return s == "primary" || s == "all" || isCIDR(s) }),
		"interface-name":      ok("a network interface's name (1 to 15 characters, without space, / : or %)", func(s string) bool { return linkName.MatchString(s) && s != "." && s != ".." }),
		"mac":                 ok("a link-layer address of one host, such as 02:42:ac:11:00:02", isMAC),
		"duration-seconds":    ok("a time span in whole seconds such as 25s, at most 65535s", isSeconds),
		"public-key":          ok("32 bytes in base64, as wg pubkey prints", isPublicKey),
		"kind":                ok("*, a kind or Kind.group", kindName.MatchString),
		"count":               ok("a whole number in quotes", wholeNumber.MatchString),
		"count-or-percent":    ok("a whole number, or a share such as 50%", percentRange.MatchString),
		"net-sysctl":          ok("the name of a setting below net; others belong to the whole host", netSysctl.MatchString),
		"probe-host":          ok("an IP address; a name is not looked up (the header Host goes into httpHeaders)", isProbeHost),
		"url-path":            ok("a path such as /healthz?full=1, without spaces", isURLPath),
		"header-name":         ok("the name of an HTTP header (A-Z, a-z, 0-9 and -)", headerName.MatchString),
		"one-line":            ok("one line", func(s string) bool { return !strings.ContainsAny(s, "\n\r\x00") }),
		"service-port-ranges": ok("ranges of ports with commas between, each with /TCP, /UDP, /SCTP or nothing (10000-10999/UDP, 5000-5009)", func(s string) bool { _, ok := parseServiceRanges(s); return ok }),
		"weight":              ok("a whole number from 1 to 100 in quotes", func(s string) bool { return wholeNumber.MatchString(s) && atoi(s) >= 1 && atoi(s) <= 100 }),
	}
}

func isDNSLabel(s string) bool { return len(s) <= 63 && dnsLabel.MatchString(s) }

// isSearchDomain allows what Kubernetes does: a dot at the end or alone, and
// underscores.
func isSearchDomain(s string) bool {
	return s == "." || isDNSName(strings.ReplaceAll(strings.TrimSuffix(s, "."), "_", "x"))
}

func isDNSName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isDNSLabel(label) {
			return false
		}
	}
	return true
}

// isPortName follows RFC 6335 section 5.1, as Kubernetes does.
func isPortName(s string) bool {
	return len(s) <= 15 && portName.MatchString(s) && strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz")
}

func isLabelKey(s string) bool {
	prefix, name, found := strings.Cut(s, "/")
	if !found {
		prefix, name = "", s
	}
	return (!found || isDNSName(prefix)) && len(name) <= 63 && labelPart.MatchString(name)
}

func isLabelValue(s string) bool { return s == "" || len(s) <= 63 && labelPart.MatchString(s) }

// isIP accepts addresses of either family, without zones and without IPv4
// addresses dressed up as IPv6.
func isIP(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" && !a.Is4In6()
}

func isCIDR(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && p == p.Masked() && !p.Addr().Is4In6()
}

// parseIPList reads the annotation poplin/ip.
func parseIPList(s string) ([]netip.Addr, bool) {
	var list []netip.Addr
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if !isIP(part) {
			return nil, false
		}
		list = append(list, netip.MustParseAddr(part))
	}
	return list, len(list) == 1 || len(list) == 2 && FamilyOf(list[0]) != FamilyOf(list[1])
}

// parseIPPort reads an address with an optional port, 0 if there is none.
func parseIPPort(s string) (netip.AddrPort, bool) {
	if isIP(s) {
		return netip.AddrPortFrom(netip.MustParseAddr(s), 0), true
	}
	ap, err := netip.ParseAddrPort(s)
	return ap, err == nil && ap.Port() != 0 && isIP(ap.Addr().String())
}

// parseAddrRange reads an address, a range or a CIDR.
func parseAddrRange(s string) (AddrRange, bool) {
	if isIP(s) {
		a := netip.MustParseAddr(s)
		return AddrRange{a, a}, true
	}
	if isCIDR(s) {
		p := netip.MustParsePrefix(s)
		return AddrRange{p.Addr(), lastAddr(p)}, true
	}
	first, last, found := strings.Cut(s, "-")
	if !found || !isIP(first) || !isIP(last) {
		return AddrRange{}, false
	}
	r := AddrRange{netip.MustParseAddr(first), netip.MustParseAddr(last)}
	return r, r.First.Is4() == r.Last.Is4() && !r.Last.Less(r.First)
}

func parsePortRange(s string) (PortRange, bool) {
	first, last, _ := strings.Cut(s, "-")
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	return PortRange{uint16(a), uint16(b)}, err1 == nil && err2 == nil && a > 0 && a <= b
}

// lastAddr is the last address of a range.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// parseServiceRanges reads the annotation poplin/port-range.
func parseServiceRanges(s string) ([]ServicePortRange, bool) {
	var out []ServicePortRange
	for part := range strings.SplitSeq(s, ",") {
		ports, protocol, written := strings.Cut(strings.TrimSpace(part), "/")
		r := ServicePortRange{Protocol: protocolOf(protocol)}
		var ok bool
		if r.PortRange, ok = parsePortRange(ports); !ok || written && r.Protocol.String() != protocol {
			return nil, false
		}
		out = append(out, r)
	}
	return out, true
}

// parseMAC reads a link-layer address that isMAC accepts.
func parseMAC(s string) (out [6]byte) {
	digits, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err == nil {
		copy(out[:], digits)
	}
	return out
}

// isMAC accepts unicast addresses other than zero (IEEE 802).
func isMAC(s string) bool {
	mac := parseMAC(s)
	return macAddress.MatchString(s) && mac != [6]byte{} && mac[0]&1 == 0
}

// isSeconds accepts what WireGuard takes for an interval.
func isSeconds(s string) bool {
	d, err := time.ParseDuration(s)
	return err == nil && d >= 0 && d%time.Second == 0 && d <= 65535*time.Second
}

func isPublicKey(s string) bool {
	key, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil && len(key) == 32
}
