package daemon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/announce"
	"github.com/poplin-net/poplin/reconciler/listen"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// outside serves clients outside of pods with what is not the kernel's: it
// tells neighbours of the load balancer addresses that this node answers for,
// and keeps the sockets that the daemon itself listens on. The loop's
// goroutine uses it.
type outside struct {
	announcer *announce.Announcer
	listeners *listen.Listeners
	taken     int // how often the kernel was made to answer
}

// follow does after a round what its goal asks for.
func (o *outside) follow(r reconciler.Round, f facts, g goal) {
	for _, op := range r.Plan {
		if op.Object().Kind() == reconciler.KindProxyNeighbour && op.Verb != reconciler.Delete {
			o.taken++
			break
		}
	}
	o.announcer.Hold(held(f, g, o.taken))
	o.listeners.Want(socketsOf(f, g, r.Err == nil))
}

// held is what neighbours are to be told. Before gossip has been heard they
// are told nothing: the addresses may be another node's by now. A node that
// comes back, or falls silent, is an occasion to tell again: it may have
// announced what is this node's, or go on answering. So is that others thought
// this node silent: it was cut off, and they took over.
func held(f facts, g goal, taken int) announce.Held {
	if len(g.Announced) == 0 || f.gossip && !f.members.Joined {
		return announce.Held{}
	}
	out := announce.Held{Link: g.host.Underlay.Link, Addresses: g.Announced}
	var silent []string
	for _, p := range g.view.Peers {
		if p.State == view.Failed {
			silent = append(silent, p.Name)
		}
	}
	out.Rivals = len(silent) > 0
	out.Occasion = fmt.Sprintf("taken %d times, accused %d times, silent: %s", taken, f.members.Accused, strings.Join(silent, " "))
	return out
}

// fillAnnounced adds who announces what to the services.
func fillAnnounced(s *api.Status, balancers []services.Balancer) {
	announced := map[schema.Name][]api.Announced{}
	for _, b := range balancers {
		for _, service := range b.Services {
			name := service.Meta.Name
			announced[name] = append(announced[name], api.Announced{Address: b.Address, Node: b.Node})
		}
	}
	for i := range s.ServiceList {
		service := &s.ServiceList[i]
		service.Announced = announced[schema.Name{Namespace: service.Namespace, Name: service.Name}]
	}
}

// unannounced are the addresses that no node may announce.
func unannounced(balancers []services.Balancer) []api.Problem {
	nobody := slices.IndexFunc(balancers, func(b services.Balancer) bool { return b.Node == "" })
	if nobody < 0 {
		return nil
	}
	return []api.Problem{{
		What:   fmt.Sprintf("nobody announces load balancer addresses (%s, the first): no node is alive, has a subnet and is not drained", balancers[nobody].Address),
		Remedy: "take spec.drain from a Node, or see `poplin status peers`",
	}}
}
