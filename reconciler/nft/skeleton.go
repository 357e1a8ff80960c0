package nft

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// tableName is the name of both tables.
const tableName = "poplin"

// markerPrefix starts the name of the empty chain that marks a table as
// poplin's; the version of the skeleton follows.
const markerPrefix = "poplin-skeleton-"

// chain is a chain with its rules.
type chain struct {
	name  string
	hook  *hook // nil: not a base chain
	rules []rule
}

// markerName names the marker of this skeleton.
func markerName() string { return fmt.Sprint(markerPrefix, reconciler.SkeletonVersion) }

// skeleton gives the chains of a family's table, each before those that jump
// to it.
func skeleton(f reconciler.Family) []chain {
	return []chain{
		{name: markerName()},
		{name: reconciler.ChainRefuse, rules: refuseRules(f)},
		{name: reconciler.ChainDiscard, rules: []rule{drop()}},
		{name: reconciler.ChainExternal, rules: externalRules(f, reconciler.SetOutsideServices, reconciler.SetInsideServices,
			destination(f), protocol(), port())},
		{name: reconciler.ChainNodePortExternal, rules: externalRules(f, reconciler.SetOutsideNodePorts, reconciler.SetInsideNodePorts,
			protocol(), port())},
		{name: reconciler.ChainRestricted, rules: []rule{
			join(in(reconciler.SetSourceRanges, destination(f), protocol(), port(), source(f)), goTo(reconciler.ChainExternal)),
			drop(),
		}},
		{name: reconciler.ChainNodePortRestricted, rules: []rule{
			join(in(reconciler.SetNodePortSourceRanges, protocol(), port(), source(f)), goTo(reconciler.ChainNodePortExternal)),
			drop(),
		}},
		{name: reconciler.ChainMasqueradeAll, rules: []rule{masquerade()}},
		{name: reconciler.ChainMasqueradeInside, rules: []rule{
			join(in(reconciler.SetPodRanges, source(f)), masquerade()),
			join(local(expr.CmpOpEq, fromSource), masquerade()),
		}},
		{name: reconciler.ChainGuardPort, rules: guardPortRules(f)},
		{name: reconciler.ChainGuardTunnel, rules: guardTunnelRules(f)},
		{name: reconciler.ChainGuardDirect, rules: []rule{join(in(reconciler.SetPodRanges, source(f)), goTo(reconciler.ChainGuardTunnel))}},
		{name: reconciler.ChainGuardPods, rules: []rule{
			join(in(reconciler.SetPodRanges, source(f)), in(reconciler.SetForeignSources, link()), drop()),
		}},
		{name: "elsewhere", rules: elsewhereRules(f)},
		{name: "frontends", rules: frontendRules(f)},
		{name: "other-traffic", rules: otherTrafficRules(f)},
		{"guard", &hook{nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw}, guardRules()},
		{"prerouting", &hook{nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest}, []rule{jump("frontends")}},
		{"output", &hook{nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest}, []rule{jump("frontends")}},
		{"postrouting", &hook{nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource}, masqueradeRules(f)},
		{"count-forward", counting(nftables.ChainHookForward), trafficRules(f, nil)},
		{"count-input", counting(nftables.ChainHookInput), trafficRules(f, notFromHost())},
		{"count-output", counting(nftables.ChainHookOutput), trafficRules(f, nil)},
	}
}

// refuseRules make a client's connect fail at once.
func refuseRules(f reconciler.Family) []rule {
	unreachable := reject(unix.NFT_REJECT_ICMP_UNREACH, 3) // port unreachable, RFC 792
	if f == reconciler.IPv6 {
		unreachable = reject(unix.NFT_REJECT_ICMP_UNREACH, 4) // port unreachable, RFC 4443
	}
	return []rule{
		join(protocolIs(unix.IPPROTO_TCP), reject(unix.NFT_REJECT_TCP_RST, 0)),
		unreachable,
	}
}

// frontendRules send the first packet of a connection to its frontend's
// chain. What matches most or costs least is asked first.
func frontendRules(f reconciler.Family) []rule {
	to := destination(f)
	return []rule{
		join(setPriority(endpoint(reconciler.SetServices, 0, to, protocol(), port())), vmap(reconciler.SetPicks, priority())),
		vmap(reconciler.SetSpecialServices, to, protocol(), port()),
		vmap(reconciler.SetPortRanges, to, protocol(), port()),
		join(in(reconciler.SetNodePortAddresses, to), notLoopback(f), local(expr.CmpOpEq, toDestination),
			vmap(reconciler.SetNodePorts, protocol(), port())),
		join(echoRequest(f), in(reconciler.SetClusterAddresses, to), redirect()),
		join(echoRequest(f), in(reconciler.SetLoadBalancerAddresses, to), redirect()),
		join(in(reconciler.SetServiceRanges, to), local(expr.CmpOpNeq, toDestination), goTo(reconciler.ChainRefuse)),
		join(in(reconciler.SetLoadBalancerAddresses, to), local(expr.CmpOpNeq, toDestination), goTo(reconciler.ChainRefuse)),
	}
}

// externalRules ask where a client is. Pods and this host use every endpoint
// even where clients from outside do not: a pod cannot know that an address
// is external to its own cluster.
func externalRules(f reconciler.Family, outside, inside reconciler.SetName, key ...value) []rule {
	return []rule{
		join(notIn(reconciler.SetPodRanges, source(f)), local(expr.CmpOpNeq, fromSource), vmap(outside, key...)),
		vmap(inside, key...),
		drop(), // between two commits
	}
}

// masqueradeRules say which connections take this host's address; see the
// package comment.
func masqueradeRules(f reconciler.Family) []rule {
	from, to := source(f), destination(f)
	return []rule{
		join(translated(), in(reconciler.SetHairpin, from, to), masquerade()),
		join(translated(), notIn(reconciler.SetLocalSubnets, from), notIn(reconciler.SetLocalSubnets, to),
			local(expr.CmpOpNeq, toDestination), jump("elsewhere")),
		join(in(reconciler.SetMasqueradeSubnets, from), notIn(reconciler.SetPodRanges, to),
			notIn(reconciler.SetMasqueradeExclude, to), local(expr.CmpOpNeq, toDestination), masquerade()),
	}
}

// elsewhereRules are for connections from outside this node's subnets to
// endpoints outside of them.
func elsewhereRules(f reconciler.Family) []rule {
	to := originalDestination(f)
	return []rule{
		join(in(reconciler.SetClusterAddresses, to), masquerade()),
		vmap(reconciler.SetMasqueradeServices, to, protocol(), originalPort()),
		join(in(reconciler.SetLoadBalancerAddresses, to), masquerade()), // a range of ports
		join(in(reconciler.SetNodePortAddresses, to), vmap(reconciler.SetMasqueradeNodePorts, protocol(), originalPort())),
	}
}

// counting is where packets are counted: behind the filters of others, so that
// what they drop is not.
func counting(number *nftables.ChainHook) *hook {
	return &hook{nftables.ChainTypeFilter, number, nftables.ChainPriorityRef(*nftables.ChainPriorityFilter + 10)}
}

// trafficRules count a packet of a translated connection for the frontend that
// its client sends to, whichever direction the packet goes. Every packet of
// this host passes them, so the commonest frontends come without a jump.
func trafficRules(f reconciler.Family, which rule) []rule {
	return []rule{
		join(which, translated(), in(reconciler.SetTraffic, originalDestination(f), protocol(), originalPort()), accepted()),
		join(which, translated(), jump("other-traffic")),
	}
}

// accepted ends the work on a packet: the verdict counts in its base chain only.
func accepted() rule { return rule{&expr.Verdict{Kind: expr.VerdictAccept}} }

// otherTrafficRules do so for node ports and ranges of ports.
func otherTrafficRules(f reconciler.Family) []rule {
	to := originalDestination(f)
	return []rule{
		join(in(reconciler.SetNodePortAddresses, to), in(reconciler.SetNodePortTraffic, protocol(), originalPort()), accepted()),
		in(reconciler.SetRangeTraffic, to, protocol(), originalPort()),
	}
}

// markerVersion reads the version out of the name of a marker chain.
func markerVersion(name string) (version int, ok bool) {
	digits, found := strings.CutPrefix(name, markerPrefix)
	version, err := strconv.Atoi(digits)
	return version, found && err == nil
}

// sendsTo reports whether elements may send packets to a chain of the
// skeleton.
func sendsTo(name string) bool {
	switch name {
	case reconciler.ChainRefuse, reconciler.ChainDiscard, reconciler.ChainExternal, reconciler.ChainNodePortExternal,
		reconciler.ChainRestricted, reconciler.ChainNodePortRestricted, reconciler.ChainMasqueradeAll, reconciler.ChainMasqueradeInside,
		reconciler.ChainGuardPort, reconciler.ChainGuardTunnel, reconciler.ChainGuardDirect, reconciler.ChainGuardPods:
		return true
	}
	return false
}
