package daemon

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler/listen"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// socketsOf are the sockets that the daemon itself listens on for services.
// healthy says that the last round went well.
func socketsOf(f facts, g goal, healthy bool) []listen.Socket {
	var out []listen.Socket
	for _, h := range g.Outside.HealthChecks {
		out = append(out, healthSockets(f, h, healthy)...)
	}
	for _, p := range g.Outside.LocalPorts {
		out = append(out, listen.Socket{At: p.At, Service: p.Service.Meta.Name.String(), Target: p.Target})
	}
	return out
}

// healthSockets are those of one health check, on the addresses that node
// ports have. Which addresses a range has on this host may change at any
// time, so there the socket has all, and answers on some.
func healthSockets(f facts, h services.HealthCheck, healthy bool) []listen.Socket {
	name := h.Service.Meta.Name
	socket := listen.Socket{Service: name.String(), HealthCheck: &listen.HealthCheck{
		Namespace: name.Namespace, Name: name.Name, Ready: h.Ready, Healthy: healthy,
	}}
	choice := f.revision.Config.Cluster.NodePortAddresses
	at := f.underlay.Addresses
	if choice.All || len(choice.CIDRs) > 0 {
		at = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		socket.Within = choice.CIDRs
		if choice.Primary {
			socket.Within = slices.Clone(choice.CIDRs)
			for _, a := range f.underlay.Addresses {
				socket.Within = append(socket.Within, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		if choice.All {
			socket.Within = nil
		}
	}
	var out []listen.Socket
	for _, a := range at {
		if slices.Contains(h.Service.Families, schema.FamilyOf(a)) {
			socket.At = netip.AddrPortFrom(a, h.Port)
			out = append(out, socket)
		}
	}
	return out
}

// closedSockets are those that cannot be opened.
func closedSockets(problems []listen.Problem) []api.Problem {
	var out []api.Problem
	for _, p := range problems {
		what := "node port"
		if p.Socket.HealthCheck != nil {
			what = "health check"
		}
		out = append(out, api.Problem{
			What:   fmt.Sprintf("the %s of service %s does not answer on %s: %v", what, p.Socket.Service, p.Socket.At, p.Err),
			Remedy: fmt.Sprintf("stop who has the port: ss -ltnp sport = :%d", p.Socket.At.Port()),
		})
	}
	return out
}
