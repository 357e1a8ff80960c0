package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/nft"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// sender finds out who sends the packet, and from which address.
func (p packetCase) sender() (api.PacketEnd, nft.Packet, error) {
	from := p.query.From
	if from == "" || from == p.facts.node {
		return p.host()
	}
	if a, err := netip.ParseAddr(from); err == nil {
		return p.address(a.Unmap())
	}
	for _, peer := range p.goal.view.Peers {
		if peer.Name == from {
			a, err := p.ofFamily(peer.Underlay, "node "+from)
			return api.PacketEnd{Address: a, Node: from}, nft.Packet{Source: a}, err
		}
	}
	name, err := schema.ParseName(from)
	if err != nil {
		return unknownSender("from %q: neither a pod (NAMESPACE/NAME), nor a node, nor an address", from)
	}
	for _, pod := range p.pods() {
		if pod.Namespace != name.Namespace || pod.Name != name.Name {
			continue
		}
		if len(pod.Addresses) == 0 && pod.node == p.facts.node {
			end, packet, err := p.host()
			end.Pod = name.String()
			return end, packet, err
		}
		if len(pod.Addresses) == 0 {
			pod.Addresses = p.goal.view.Peer(pod.node).Underlay
		}
		a, err := p.ofFamily(pod.Addresses, "pod "+name.String())
		return api.PacketEnd{Address: a, Pod: name.String(), Node: pod.node}, nft.Packet{Source: a}, err
	}
	return unknownSender("from %q: no node knows of such a pod, and there is no such node", from)
}

func unknownSender(format, from string) (api.PacketEnd, nft.Packet, error) {
	return api.PacketEnd{}, nft.Packet{}, &api.UnknownError{Message: fmt.Sprintf(format, from)}
}

// host sends with the address that its routing chooses.
func (p packetCase) host() (api.PacketEnd, nft.Packet, error) {
	to := p.query.To.Address.Addr()
	hop := p.hop(to)
	source := hop.Source
	if !source.IsValid() {
		var err error
		if source, err = p.ofFamily(p.goal.host.Underlay.Addresses, "this node"); err != nil {
			return api.PacketEnd{}, nft.Packet{}, err
		}
	}
	return api.PacketEnd{Address: source, Node: p.facts.node}, nft.Packet{Source: source, Sent: true}, nil
}

// address is a sender that is given by its address.
func (p packetCase) address(a netip.Addr) (api.PacketEnd, nft.Packet, error) {
	if _, err := p.ofFamily([]netip.Addr{a}, a.String()); err != nil {
		return api.PacketEnd{}, nft.Packet{}, err
	}
	return p.end(a), nft.Packet{Source: a, Sent: p.hop(a).Local}, nil
}

// ofFamily gives the first address of the target's family.
func (p packetCase) ofFamily(list []netip.Addr, whose string) (netip.Addr, error) {
	want := reconciler.FamilyOf(p.query.To.Address.Addr())
	for _, a := range list {
		if reconciler.FamilyOf(a) == want {
			return a, nil
		}
	}
	name := map[reconciler.Family]string{reconciler.IPv4: "IPv4", reconciler.IPv6: "IPv6"}[want]
	return netip.Addr{}, fmt.Errorf("%s has no address of %s, and %s is one", whose, name, p.query.To.Address.Addr())
}

// placedPod is a pod and its node.
type placedPod struct {
	view.Pod
	node string
}

// pods lists those of all nodes.
func (p packetCase) pods() []placedPod {
	var out []placedPod
	add := func(node string, pods []view.Pod) {
		for _, pod := range pods {
			out = append(out, placedPod{pod, node})
		}
	}
	add(p.facts.node, p.goal.view.Self.Pods)
	for _, peer := range p.goal.view.Peers {
		add(peer.Name, peer.Pods)
	}
	return out
}

// end says who has an address.
func (p packetCase) end(a netip.Addr) api.PacketEnd {
	out := api.PacketEnd{Address: a}
	for _, pod := range p.pods() {
		if slices.Contains(pod.Addresses, a) {
			out.Pod, out.Node = pod.Namespace+"/"+pod.Name, pod.node
			return out
		}
	}
	contains := func(s netip.Prefix) bool { return s.Contains(a) }
	for _, peer := range p.goal.view.Peers {
		if slices.Contains(peer.Underlay, a) || slices.ContainsFunc(peer.Subnets, contains) {
			out.Node = peer.Name
		}
	}
	for _, s := range p.goal.Subnets {
		if slices.ContainsFunc(s.Prefixes, contains) {
			out.Node = p.facts.node
		}
	}
	if slices.Contains(p.goal.host.Underlay.Addresses, a) {
		out.Node = p.facts.node
	}
	return out
}

// up reports whether a pod of this node has its interface.
func (p packetCase) up(pod string) bool {
	namespace, name, _ := strings.Cut(pod, "/")
	return p.goal.standing[reconciler.NamespaceName(namespace, name)]
}
