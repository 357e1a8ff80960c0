package schema

import (
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// Defaults and names of Kubernetes' Probe (core/v1).
const (
	probePeriod           = 10 // seconds
	probeTimeout          = 1  // seconds
	probeSuccessThreshold = 1
	probeFailureThreshold = 3
	probeLocalhost        = "localhost"
)

// probe converts the readinessProbe of a container, if it has one.
func (c *conversion) probe(at pointer, container containerSpec) (Probe, bool) {
	s := container.ReadinessProbe
	if s == nil {
		return Probe{}, false
	}
	at = at.field("readinessProbe")
	out := Probe{
		InitialDelay:     time.Duration(s.InitialDelaySeconds) * time.Second,
		Period:           time.Duration(orDefault(s.PeriodSeconds, probePeriod)) * time.Second,
		Timeout:          time.Duration(orDefault(s.TimeoutSeconds, probeTimeout)) * time.Second,
		SuccessThreshold: orDefault(s.SuccessThreshold, probeSuccessThreshold),
		FailureThreshold: orDefault(s.FailureThreshold, probeFailureThreshold),
	}
	var handlers []string
	if s.TCPSocket != nil {
		handlers = append(handlers, "tcpSocket")
		out.TCP = &TCPProbe{probeHost(s.TCPSocket.Host), c.probePort(at.field("tcpSocket").field("port"), s.TCPSocket.Port, container)}
	}
	if h := s.HTTPGet; h != nil {
		handlers = append(handlers, "httpGet")
		out.HTTP = &HTTPProbe{
			Host: probeHost(h.Host), Port: c.probePort(at.field("httpGet").field("port"), h.Port, container),
			Path: "/" + strings.TrimPrefix(h.Path, "/"), TLS: h.Scheme == "HTTPS",
		}
		for _, header := range h.HTTPHeaders {
			out.HTTP.Headers = append(out.HTTP.Headers, Header(header))
		}
	}
	if s.Exec != nil {
		handlers = append(handlers, "exec")
		out.Exec = s.Exec.Command
		c.warn(at.field("exec"), "exec probes need nodes whose daemon runs with --exec-probes; on others the pod is never ready")
	}
	switch {
	case len(handlers) == 0:
		c.refuse(at, "a probe needs one of tcpSocket, httpGet and exec")
	case len(handlers) > 1:
		c.refuse(at.field(handlers[1]), "a probe has one way to look, but this one has %s", joinWords(handlers))
	}
	return out, true
}

// probePort finds the number of a port that a probe names. As in Kubernetes,
// a name is one of the same container's.
func (c *conversion) probePort(at pointer, port intOrString, container containerSpec) uint16 {
	if port.number != 0 {
		return uint16(port.number)
	}
	var names []string
	for _, p := range container.Ports {
		if protocolOf(p.Protocol) != TCP {
			continue
		}
		if p.Name == port.name {
			return uint16(p.ContainerPort)
		}
		if p.Name != "" {
			names = append(names, p.Name)
		}
	}
	c.refuse(at, "the container has no TCP port named %q%s", port.name, didYouMean(port.name, names))
	return 0
}

// probeHost reads the host of a probe; zero where none is written.
func probeHost(text string) netip.Addr {
	if text == probeLocalhost {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	a, _ := netip.ParseAddr(text)
	return a
}

func isProbeHost(s string) bool { return s == "" || s == probeLocalhost || isIP(s) }

var (
	headerName = regexp.MustCompile(`^[-A-Za-z0-9]+$`)
	urlPath    = regexp.MustCompile(`^([^\x00-\x20\x7f%]|%[0-9A-Fa-f]{2})*$`)
)

// isURLPath accepts what can stand after the host and port of a URL.
func isURLPath(s string) bool {
	path, _, _ := strings.Cut(s, "?")
	return urlPath.MatchString(s) && !strings.Contains(path, "://")
}
