package daemon

import (
	"fmt"
	"net/netip"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/overlay/probe"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/view"
)

// pathsOf are the ways to other nodes, one for each, to be looked at: with the
// MTU that its first route has, to the gateway of that subnet, which is the
// node's own.
func pathsOf(f facts, g goal) []probe.Target {
	gateways := map[netip.Prefix]netip.Addr{}
	for _, s := range f.revision.Config.Subnets {
		for i, p := range s.CIDRs {
			gateways[p] = s.Gateways[i]
		}
	}
	var out []probe.Target
	for _, p := range g.view.Peers {
		group := g.State.Group("peer " + p.Name)
		if p.State != view.Alive || external(f.revision.Config, p.Name) || group == nil {
			continue
		}
		for _, o := range group.Objects {
			r, ok := o.(reconciler.Route)
			if !ok || r.MTU == 0 {
				continue
			}
			gateway, ok := gateways[r.Destination]
			if !ok {
				gateway = r.Destination.Addr().Next()
			}
			out = append(out, probe.Target{Node: p.Name, Address: gateway, Size: r.MTU})
			break
		}
	}
	return out
}

// lies are the paths on which large packets get lost, as problems.
func (d *Daemon) lies() []api.Problem {
	var out []api.Problem
	for _, l := range d.paths.Lies() {
		out = append(out, api.Problem{
			What:   fmt.Sprintf("packets of %d bytes to %s get lost on the way and nobody says so; %d bytes arrive", l.Size, l.Node, l.Fits),
			Remedy: fmt.Sprintf("mend the MTU on the way, or set spec.overlay.mtu: %d in the Cluster", l.Fits),
		})
	}
	return out
}
