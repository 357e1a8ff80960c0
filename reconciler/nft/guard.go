package nft

import (
	"github.com/google/nftables/expr"

	"github.com/poplin-net/poplin/reconciler"
)

// guardRules ask which packets may be forged. All packets that come in pass
// them, so what is not guarded costs two lookups and no more.
func guardRules() []rule {
	return []rule{
		vmap(reconciler.SetTunnelPorts, protocol(), port()),
		vmap(reconciler.SetGuardedLinks, link()),
	}
}

// guardPortRules are for packets to a tunnel's port. Those that are not for
// this host go on: a pod may have a tunnel of its own. A socket hears what is
// sent to broadcast and multicast addresses, too. The set that counts comes
// last, after which the packet is dropped.
func guardPortRules(f reconciler.Family) []rule {
	return []rule{
		join(in(reconciler.SetTunnelPeers, source(f)), accepted()),
		join(addressType(expr.CmpOpNeq, toDestination, typeUnicast), in(reconciler.SetUnknownPeers, protocol(), port()), drop()),
	}
}

// guardTunnelRules are for packets that have to come from a peer's subnet.
func guardTunnelRules(f reconciler.Family) []rule {
	return []rule{
		join(in(reconciler.SetPeerSubnets, source(f)), accepted()),
		join(in(reconciler.SetForeignSources, link()), drop()),
	}
}
