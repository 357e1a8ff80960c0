package daemon

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/schema"
)

// Where a host says whom it asks: resolv.conf(5), and what systemd-resolved
// writes for those who want its upstreams rather than itself.
const (
	hostResolvConf     = "/etc/resolv.conf"
	resolvedResolvConf = "/run/systemd/resolve/resolv.conf"
)

// hostResolver is the host's own resolv.conf, for pods that want it.
func hostResolver() schema.DNSConfig { return readResolver(hostResolvConf, resolvedResolvConf) }

// readResolver reads a resolv.conf, and in place of one that names a server on
// loopback the other one: in a pod, loopback is the pod's.
func readResolver(path, instead string) schema.DNSConfig {
	loopback := func(a netip.Addr) bool { return a.IsLoopback() }
	out := parseResolver(path)
	if slices.ContainsFunc(out.Nameservers, loopback) {
		if other := parseResolver(instead); len(other.Nameservers) > 0 {
			out = other
		}
	}
	out.Nameservers = slices.DeleteFunc(out.Nameservers, loopback)
	return out
}

func parseResolver(path string) schema.DNSConfig {
	var out schema.DNSConfig
	text, err := os.ReadFile(path)
	if err != nil {
		return out
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				out.Nameservers = append(out.Nameservers, a)
			}
		case "search", "domain": // the last one counts
			out.Searches = words[1:]
		case "options":
			for _, o := range words[1:] {
				name, value, _ := strings.Cut(o, ":")
				out.Options = append(out.Options, schema.DNSOption{Name: name, Value: value})
			}
		}
	}
	return out
}
