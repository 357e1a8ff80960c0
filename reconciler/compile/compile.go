// Package compile turns documents, the view and facts about the host into
// the state that the host should have. It is pure: the same inputs give the
// same state, and what did not change is the same group as last time.
//
// One file per concern: host.go (bridges, addresses, settings), pods.go,
// peers.go (routes and tunnel peers), balancers.go (load balancer addresses
// that this node announces), subnet_file.go, masquerade.go and services.go
// (nftables elements). subnets.go and ipam.go say which addresses this node
// and its pods have.
package compile

import (
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// TunnelDevice is the name of the udp backend's TUN device.
const TunnelDevice = "poplin0"

// tunnelQueue is the TUN device's queue length in packets: what waits while
// the daemon restarts.
const tunnelQueue = 4000

// Input is all that a state depends on.
type Input struct {
	Config   *schema.Config
	View     view.View
	Host     Host
	Revision string
	// Observed is what the host has now. A new compiler takes the slots of
	// endpoints from it, so that a restart moves none; later it remembers them
	// itself.
	Observed reconciler.State
	// Unheard says that gossip has not been heard yet. Until it is, this node
	// announces the load balancer addresses that Observed has, no others:
	// another node may have them.
	Unheard bool
}

// Host is what of the host matters.
type Host struct {
	Node     string
	Underlay Underlay
	// BridgeNetfilter says that the br_netfilter module is there, so that a
	// bridge can hand its packets to netfilter.
	BridgeNetfilter bool
	// PodAddresses are the addresses of this node's pods, as Assign gave
	// them.
	PodAddresses map[schema.Name][]netip.Addr
	// RunDir is the directory for what is made for others to read; "": none.
	RunDir string
}

// Underlay is this node's end of the network between the hosts.
type Underlay struct {
	Link      string
	Addresses []netip.Addr // the preferred family first
	MTU       int          // bytes
	OnLink    []netip.Prefix
}

// Problem is something that stands in the way, with what mends it.
type Problem struct{ What, Remedy string }

// Result is a compiled state.
type Result struct {
	State    reconciler.State
	Services []services.Service
	Outside  services.Outside
	// Announced are the load balancer addresses that this node answers for.
	Announced []netip.Addr
	Problems  []Problem
	// MTU is what a packet of this node's pods may have, in bytes.
	MTU int
	// Subnets are this node's, with their gateways.
	Subnets []Subnet
}

// Compiler compiles again and again, and keeps what did not change. It is
// used by one goroutine at a time; Fork gives an independent copy.
type Compiler struct {
	config   *schema.Config
	resolver *services.Resolver
	families []reconciler.Family
	services map[schema.Name]compiledService
	groups   map[string]*reconciler.Group
}

// New returns an empty compiler.
func New() *Compiler {
	return &Compiler{services: map[schema.Name]compiledService{}, groups: map[string]*reconciler.Group{}}
}

// Fork returns a compiler that knows what c knows and shares no state that
// changes: for planning beside a running loop.
func (c *Compiler) Fork() *Compiler {
	f := *c
	f.services = map[schema.Name]compiledService{}
	for k, v := range c.services {
		f.services[k] = v
	}
	f.groups = map[string]*reconciler.Group{}
	for k, v := range c.groups {
		f.groups[k] = v
	}
	return &f
}

// Compile computes the state.
func (c *Compiler) Compile(in Input) Result {
	if c.config != in.Config {
		c.config, c.resolver = in.Config, services.NewResolver(in.Config)
	}
	b := &builder{Input: in, cluster: in.Config.Cluster}
	b.subnets = OwnSubnets(in.Config, in.Host.Node, in.View.Self.Subnets)
	b.families = families(in.Config)
	b.mtu = b.podMTU()
	if !slices.Equal(c.families, b.families) {
		c.families, c.services = b.families, map[schema.Name]compiledService{}
	}

	groups := b.host()
	groups = append(groups, b.pods()...)
	groups = append(groups, b.peers()...)
	groups = append(groups, b.masquerade(), b.subnetFile())
	self := services.Host{Node: in.Host.Node, Underlay: in.Host.Underlay.Addresses}
	resolved, outside := c.resolver.Resolve(in.View, self), c.resolver.Outside(in.View, self)
	announced := b.announced(outside.Balancers)
	groups = append(groups, b.balancers(announced)...)
	compiled := c.compileServices(b, resolved)
	groups = append(groups, b.chains(compiled)...)
	groups = c.shared(groups)
	for _, s := range compiled {
		groups = append(groups, s.group)
	}
	return Result{
		State: reconciler.NewState(groups...), Services: resolved, Outside: outside, Problems: b.problems,
		Announced: addressesOf(announced),
		MTU:       b.mtu, Subnets: b.subnets,
	}
}

// shared replaces each group that equals last time's by that one. Its origin
// then names the revision that brought it.
func (c *Compiler) shared(groups []*reconciler.Group) []*reconciler.Group {
	now := make(map[string]*reconciler.Group, len(groups))
	out := make([]*reconciler.Group, 0, len(groups))
	for _, g := range groups {
		if g == nil {
			continue
		}
		if old := c.groups[g.Name]; old != nil && old.Origin.String() == g.Origin.String() && slices.Equal(old.Objects, g.Objects) {
			g = old
		}
		now[g.Name] = g
		out = append(out, g)
	}
	c.groups = now
	return out
}

// builder is one compilation.
type builder struct {
	Input
	cluster  *schema.Cluster
	subnets  []Subnet
	families []reconciler.Family
	mtu      int
	problems []Problem
}

// problem reports something once, however many objects it concerns.
func (b *builder) problem(what, remedy string) {
	if p := (Problem{what, remedy}); !slices.Contains(b.problems, p) {
		b.problems = append(b.problems, p)
	}
}

func (b *builder) origin(p schema.Place) reconciler.Origin {
	return reconciler.Origin{File: p.File, Line: p.Line, Revision: b.Revision}
}

// alias is the mark of ownership on a link.
func (b *builder) alias(name string) string {
	return "poplin " + b.cluster.Meta.Name.Name + "/" + name
}

func (b *builder) has(f reconciler.Family) bool { return slices.Contains(b.families, f) }

// families are those that the cluster's ranges have, IPv4 first.
func families(c *schema.Config) []reconciler.Family {
	var out []reconciler.Family
	ranges := slices.Concat(c.Cluster.PodCIDRs, c.Cluster.ServiceCIDRs)
	for _, f := range []reconciler.Family{reconciler.IPv4, reconciler.IPv6} {
		if slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return reconciler.FamilyOf(p.Addr()) == f }) {
			out = append(out, f)
		}
	}
	return out
}
