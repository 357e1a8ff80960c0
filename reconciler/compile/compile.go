// Package compile turns documents, the view and facts about the host into
// the state that the host should have. It is pure: the same inputs give the
// same state, and what did not change is the same group as last time.
//
// One file per concern: host.go (bridges, addresses, settings), pods.go,
// tunnel.go and vxlan.go (the ends of tunnels), mtu.go, peers.go (the ways to
// peers), balancers.go (load balancer addresses that this node announces),
// resolv_conf.go (pods' resolv.conf, the addresses of DNS), environment.go,
// subnet_file.go, masquerade.go, guard.go and services.go (nftables elements). subnets.go
// and ipam.go say which addresses this node and its pods have.
package compile

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

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
	// BadChecksumOffload says that this kernel's VXLAN links send wrong
	// checksums if they leave them to what is below them.
	BadChecksumOffload bool
	// KernelWireGuard says that the kernel has WireGuard devices; PublicKey is
	// the node's, in base64.
	KernelWireGuard bool
	PublicKey       string
	// PodAddresses are the addresses of this node's pods, as Assign gave
	// them.
	PodAddresses map[schema.Name][]netip.Addr
	// RunDir is the directory for what is made for others to read; "": there
	// is none, and no files for pods either.
	RunDir string
	// Resolver is the host's own, for pods that want it.
	Resolver schema.DNSConfig
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
	Services []*services.Service
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
	services compiledServices
	// environments are files made of services' documents only.
	environments environments
	base         base
	groups       map[string]*reconciler.Group // but those of services
	state        reconciler.State
}

// New returns an empty compiler.
func New() *Compiler { return &Compiler{} }

// Fork returns a compiler that knows what c knows and shares no state that
// changes: for planning beside a running loop.
func (c *Compiler) Fork() *Compiler {
	f := *c
	f.resolver = nil // it goes from one Config to the next; the other one is elsewhere
	f.services.uses = maps.Clone(c.services.uses)
	return &f
}

// Compile computes the state.
func (c *Compiler) Compile(in Input) Result {
	switch {
	case c.resolver == nil:
		c.resolver = services.NewResolver(in.Config)
	case c.config != in.Config:
		c.resolver.Update(in.Config)
	}
	c.config = in.Config
	b := &builder{Input: in, cluster: in.Config.Cluster, own: in.Config.PodsOn(in.Host.Node)}
	b.subnets = OwnSubnets(in.Config, in.Host.Node, in.View.Self.Subnets)
	b.families = families(in.Config)
	b.mtu = b.podMTU()
	var gone, added []*reconciler.Group
	if !slices.Equal(c.families, b.families) {
		c.families, gone = b.families, c.services.reset()
	}
	self := services.Host{Node: in.Host.Node, Underlay: in.Host.Underlay.Addresses}
	resolved, outside := c.resolver.Resolve(in.View, self), c.resolver.Outside(in.View, self)
	b.announced = b.announcedHere(outside.Balancers)
	before, after := c.services.compile(b, resolved)
	gone, added = append(gone, before...), after
	before, after = c.environments.compile(b)
	gone, added = append(gone, before...), append(added, after...)
	before, after = c.shared(c.others(b))
	gone, added = append(gone, before...), append(added, after...)
	c.state = c.state.Replace(gone, added)
	return Result{
		State: c.state, Services: resolved, Outside: outside, Problems: c.base.problems,
		Announced: addressesOf(b.announced),
		MTU:       b.mtu, Subnets: b.subnets,
	}
}

// others makes the groups that are not of one service, or nil if nothing
// that they depend on changed.
func (c *Compiler) others(b *builder) []*reconciler.Group {
	now := baseOf(b, &c.services)
	if c.groups != nil && c.base.equal(now) {
		return nil
	}
	groups := b.host()
	groups = append(groups, b.pods()...)
	groups = append(groups, b.peers()...)
	groups = append(groups, b.balancers()...)
	groups = append(groups, b.dnsAddresses(), b.masquerade(now.pools), b.guard(), b.subnetFile(), b.chains(c.services.uses))
	now.problems = b.problems
	c.base = now
	return groups
}

// shared compares groups with those of last time, and returns those that go
// and those that come. One that equals last time's stays that one: its origin
// names the revision that brought it.
func (c *Compiler) shared(groups []*reconciler.Group) (gone, added []*reconciler.Group) {
	if groups == nil && c.groups != nil {
		return nil, nil
	}
	now := make(map[string]*reconciler.Group, len(groups))
	for _, g := range groups {
		if g == nil {
			continue
		}
		old := c.groups[g.Name]
		if old != nil && old.Origin.String() == g.Origin.String() && slices.Equal(old.Objects, g.Objects) {
			now[g.Name] = old
			continue
		}
		now[g.Name] = g
		added = append(added, g)
	}
	for name, old := range c.groups {
		if now[name] != old {
			gone = append(gone, old)
		}
	}
	c.groups = now
	return gone, added
}

// builder is one compilation.
type builder struct {
	Input
	cluster  *schema.Cluster
	subnets  []Subnet
	families []reconciler.Family
	mtu      int
	own      []*schema.Pod // of this node
	// announced are the load balancer addresses that this node answers for.
	announced []services.Balancer
	problems  []Problem

	wg    bool                              // the WireGuard device is there
	keys  map[string]string                 // who has which public key
	udp   bool                              // the tunnel of the udp backend is there
	vteps map[reconciler.FDBEntryKey]string // who has which VXLAN address
	nodes map[string]*schema.Node           // by name
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
