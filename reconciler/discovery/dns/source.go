package dns

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Where a host says whom to ask.
const (
	defaultResolvConf  = "/etc/resolv.conf"
	defaultResolvedOwn = "/run/systemd/resolve/resolv.conf"
	port               = 53
)

// sourcePace is how often, at most, a file is looked at.
const sourcePace = time.Second

// source is where upstreams come from: a list, or the host's resolv.conf,
// which is read again when it changed. It is looked at when there is
// something to ask, so an idle server does nothing.
type source struct {
	given      []netip.AddrPort
	file       string
	resolved   string // systemd-resolved's list of those that it asks
	seen       bool
	next       time.Duration
	fileStamps [2]fileStamp
}

// fileStamp tells two states of a file apart.
type fileStamp struct {
	size  int64
	mtime time.Time
	known bool
}

func newSource(s Settings) source {
	out := source{given: slices.Clone(s.Upstreams), file: s.ResolvConf, resolved: s.ResolvedConf}
	if out.file == "" {
		out.file = defaultResolvConf
	}
	if out.resolved == "" {
		out.resolved = defaultResolvedOwn
	}
	return out
}

// same reports whether settings name the same source.
func (s *source) same(settings Settings) bool {
	o := newSource(settings)
	return slices.Equal(s.given, o.given) && s.file == o.file && s.resolved == o.resolved
}

// read returns the upstreams, and whether they may be others than before.
// The problem is "" for none.
func (s *source) read(now time.Duration) (list []netip.AddrPort, changed bool, problem string) {
	if len(s.given) > 0 {
		changed, s.seen = !s.seen, true
		return s.given, changed, ""
	}
	if s.seen && now < s.next {
		return nil, false, ""
	}
	s.next = now + sourcePace
	stamps := [2]fileStamp{stampOf(s.file), stampOf(s.resolved)}
	if s.seen && stamps == s.fileStamps {
		return nil, false, ""
	}
	s.seen, s.fileStamps = true, stamps
	list, err := nameservers(s.file)
	if err == nil && slices.ContainsFunc(list, isResolved) {
		list, err = nameservers(s.resolved)
	}
	if err != nil {
		problem = "DNS has no upstreams: " + err.Error()
	}
	return list, true, problem
}

// isResolved reports whether an address is where systemd-resolved listens.
func isResolved(a netip.AddrPort) bool {
	return a.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}

func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.Size(), info.ModTime(), true}
}

// nameservers reads the addresses of resolv.conf(5).
func nameservers(path string) ([]netip.AddrPort, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			out = append(out, netip.AddrPortFrom(a, port))
		}
	}
	return out, nil
}
