package daemon

import (
	"context"
	"slices"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/nft"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// Count implements api.Backend.
func (d *Daemon) Count(ctx context.Context, s *api.Status) error {
	counts, err := d.counts(ctx)
	if err != nil {
		return err
	}
	resolved := d.account.read().goal.Services
	for i := range s.ServiceList {
		out := &s.ServiceList[i]
		name := schema.Name{Namespace: out.Namespace, Name: out.Name}
		// A round may have ended since the status was made.
		at, found := slices.BinarySearchFunc(resolved, name, func(r *services.Service, n schema.Name) int { return r.Document.Meta.Name.Compare(n) })
		if !found {
			continue
		}
		for _, f := range resolved[at].Frontends {
			out.Frontends = append(out.Frontends, frontendStatus(f, counts))
		}
	}
	return nil
}

// counts reads the kernel's counters, if the tables may be there.
func (d *Daemon) counts(ctx context.Context) (map[reconciler.ElementKey]nft.Count, error) {
	if d.loop.Load() == nil {
		return nil, nil
	}
	return d.targets.nft.Counters(ctx)
}

func frontendStatus(f services.Frontend, counts map[reconciler.ElementKey]nft.Count) api.Frontend {
	out := api.Frontend{
		Kind: kindNames()[f.Kind], Family: f.Family.String(), Address: f.Address, Protocol: f.Protocol.String(),
		Port: f.Port, LastPort: f.LastPort, PortName: f.PortName, Endpoints: f.Total, EndpointsReady: f.Ready,
	}
	traffic, connections := counterKeys(f)
	if all, counted := counts[traffic]; counted {
		out.Counters = &api.Counters{Connections: counts[connections].Packets, Packets: all.Packets, Bytes: all.Bytes}
	}
	return out
}

func kindNames() map[services.FrontendKind]string {
	return map[services.FrontendKind]string{
		services.ClusterIP: "clusterIP", services.NodePort: "nodePort", services.LoadBalancer: "loadBalancer", services.ExternalIP: "externalIP",
	}
}

// counterKeys name the elements that count for a frontend; the compiler asks
// for them.
func counterKeys(f services.Frontend) (traffic, connections reconciler.ElementKey) {
	traffic = reconciler.ElementKey{Family: reconciler.IPv4, Set: reconciler.SetTraffic, Address: f.Address,
		Protocol: reconciler.Protocol(f.Protocol), Port: f.Port, LastPort: f.LastPort}
	if f.Family == schema.IPv6 {
		traffic.Family = reconciler.IPv6
	}
	connections = traffic
	connections.Set = reconciler.SetConnections
	switch {
	case f.LastPort != 0:
		traffic.Set, connections.Set = reconciler.SetRangeTraffic, reconciler.SetRangeConnections
	case f.Kind == services.NodePort:
		traffic.Set, connections.Set = reconciler.SetNodePortTraffic, reconciler.SetNodePortConnections
	}
	return traffic, connections
}
