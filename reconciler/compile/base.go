package compile

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// base is what the groups depend on that are not of one service: documents by
// their pointers, the view without what it says of pods elsewhere. What is
// equal in two compilations gives the same groups, and they are then not made
// again.
type base struct {
	cluster *schema.Cluster
	nodes   []*schema.Node
	subnets []*schema.Subnet
	own     []*schema.Pod
	claims  []netip.Prefix
	former  []view.Backend
	peers   []view.Peer
	host    Host
	chains  int // how often the chains in use changed
	pools   []netip.Addr
	// announced are the load balancer addresses that this node answers for.
	announced []services.Balancer

	problems []Problem // that came of it
}

func baseOf(b *builder, s *compiledServices) base {
	return base{
		cluster: b.cluster, nodes: b.Config.Nodes, subnets: b.Config.Subnets, own: b.own, claims: b.View.Self.Subnets, former: b.View.Self.Former,
		peers: b.View.Peers, host: b.Host, chains: s.turns, pools: s.pools(b), announced: b.announced,
	}
}

func (x base) equal(y base) bool {
	return x.cluster == y.cluster && slices.Equal(x.nodes, y.nodes) && slices.Equal(x.subnets, y.subnets) &&
		slices.Equal(x.own, y.own) && slices.Equal(x.claims, y.claims) && slices.Equal(x.former, y.former) && x.chains == y.chains &&
		slices.Equal(x.pools, y.pools) && x.host.equal(y.host) && slices.EqualFunc(x.peers, y.peers, view.Peer.SameNode) &&
		slices.EqualFunc(x.announced, y.announced, services.Balancer.Equal)
}

func (h Host) equal(o Host) bool {
	return h.Node == o.Node && h.RunDir == o.RunDir && h.BadChecksumOffload == o.BadChecksumOffload &&
		h.KernelWireGuard == o.KernelWireGuard && h.PublicKey == o.PublicKey && h.BridgeNetfilter == o.BridgeNetfilter && h.Underlay.Equal(o.Underlay) &&
		maps.EqualFunc(h.PodAddresses, o.PodAddresses, slices.Equal[[]netip.Addr]) && sameResolver(h.Resolver, o.Resolver)
}

func sameResolver(x, y schema.DNSConfig) bool {
	return slices.Equal(x.Nameservers, y.Nameservers) && slices.Equal(x.Searches, y.Searches) && slices.Equal(x.Options, y.Options)
}

// Equal reports whether two underlays are the same.
func (u Underlay) Equal(o Underlay) bool {
	return u.Link == o.Link && u.MTU == o.MTU && slices.Equal(u.Addresses, o.Addresses) && slices.Equal(u.OnLink, o.OnLink)
}

// sameSlice reports whether two slices are one, without a look at what they
// hold.
func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
