package services

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// Balancer is a load balancer address of poplin's and the node that announces
// it: one that answers for it on the network between the hosts, so that what
// is sent there comes to that node.
type Balancer struct {
	Address netip.Addr
	// Node is "" where no node may announce it: all are drained, or silent.
	Node string
	// Services have the address, in the order of the documents.
	Services []*schema.Service
	// Closed are those of them that nobody reaches from outside: with policy
	// Local, and endpoints that take connections, but none on Node.
	Closed []*schema.Service
}

// Equal reports whether two are the same.
func (b Balancer) Equal(o Balancer) bool {
	return b.Address == o.Address && b.Node == o.Node && slices.Equal(b.Services, o.Services) && slices.Equal(b.Closed, o.Closed)
}

// balancers says who announces what, in the order of the addresses. It follows
// from documents and view alone, so nodes that know the same come to the same.
//
// Candidates are the nodes that are alive, have a subnet and are not drained.
// Where a service takes connections from outside only to endpoints of the node
// itself (externalTrafficPolicy Local), they are those with such an endpoint;
// services that share an address leave those that suit all of them, if there
// are any, else those that suit one. With policy Cluster every node serves as
// well, and the address does not move as endpoints come and go: it would take
// all connections with it. Among candidates the highest number that a node
// draws for the address decides (rendezvous), so that only the addresses of a
// node that fails go elsewhere, and come back when it does.
func (r *Resolver) balancers(nodes []string) []Balancer {
	byAddress := map[netip.Addr]*Balancer{}
	for _, s := range r.config.Services {
		for _, a := range s.PoolIPs {
			if byAddress[a] == nil {
				byAddress[a] = &Balancer{Address: a}
			}
			byAddress[a].Services = append(byAddress[a].Services, s)
		}
	}
	out := make([]Balancer, 0, len(byAddress))
	for _, b := range byAddress {
		serving := r.serving(b)
		b.Node = draw(b.Address, suited(serving, nodes))
		for _, l := range serving {
			if b.Node != "" && len(l.nodes) > 0 && !slices.Contains(l.nodes, b.Node) {
				b.Closed = append(b.Closed, l.service)
			}
		}
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b Balancer) int { return a.Address.Compare(b.Address) })
	return out
}

// announcers are the nodes that can announce addresses at all.
func (r *Resolver) announcers(v view.View, host Host) []string {
	external, pinned := map[string]bool{}, map[string]bool{}
	for _, n := range r.config.Nodes {
		external[n.Meta.Name.Name] = n.External
	}
	for _, s := range r.config.Subnets {
		pinned[s.Node] = true
	}
	var out []string
	add := func(name string, subnets []netip.Prefix) {
		if (len(subnets) > 0 || pinned[name]) && !external[name] && !r.live.of(name).drain {
			out = append(out, name)
		}
	}
	add(host.Node, v.Self.Subnets)
	for _, p := range v.Peers {
		if p.State == view.Alive {
			add(p.Name, p.Subnets)
		}
	}
	return out
}

// localService is one with policy Local and the nodes that serve it.
type localService struct {
	service *schema.Service
	nodes   []string
}

// serving are those of an address.
func (r *Resolver) serving(b *Balancer) []localService {
	var out []localService
	for _, s := range b.Services {
		if s.ExternalLocal {
			out = append(out, localService{s, r.servingNodes(s, schema.FamilyOf(b.Address))})
		}
	}
	return out
}

// suited leaves of the nodes those that suit the policies of an address's
// services.
func suited(local []localService, nodes []string) []string {
	suits := map[string]int{}
	for _, l := range local {
		for _, n := range l.nodes {
			suits[n]++
		}
	}
	for _, want := range []int{len(local), 1} {
		some := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return suits[n] < want })
		if len(some) > 0 {
			return some
		}
	}
	return nodes
}

// servingNodes are the nodes with an endpoint that takes connections: one that
// is ready, else, as with choose, one that still serves while it terminates.
func (r *Resolver) servingNodes(s *schema.Service, family schema.Family) []string {
	var all []candidate
	for _, port := range s.Ports {
		all = append(all, r.candidates(s, port, family)...)
	}
	if len(s.Ports) == 0 {
		all = r.portless(s, family)
	}
	var out []string
	for _, c := range choose(s, all) {
		if c.node != "" {
			out = append(out, c.node)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// draw is the node that draws the highest number for an address; "" of none.
func draw(address netip.Addr, nodes []string) string {
	h := fnv.New64a()
	_, _ = h.Write(address.AsSlice()) // never fails
	salt := mix(h.Sum64())
	return slices.MaxFunc(append([]string{""}, nodes...), func(a, b string) int {
		if a == "" || b == "" {
			return cmp.Compare(a, b)
		}
		return cmp.Or(cmp.Compare(number(a, salt), number(b, salt)), cmp.Compare(a, b))
	})
}

// number is what a node draws.
func number(node string, salt uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(node)) // never fails
	return mix(h.Sum64() ^ salt)
}
