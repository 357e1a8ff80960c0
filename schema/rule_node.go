package schema

import (
	"net/netip"
	"slices"
)

// nodeRules refuses underlay addresses that are there twice, or inside the
// cluster's own ranges.
func (t *tree) nodeRules() {
	c := t.result.Cluster
	seen := map[netip.Addr]*unit{}
	for _, u := range t.nodes {
		if c.Overlay.Backend == BackendVXLAN && u.node.External && u.node.VTEPMAC == [6]byte{} {
			t.refuse(u, "/spec/external", "an external node needs vtepMAC with the backend vxlan: nothing could be sent to it")
		}
		if c.Overlay.Backend == BackendWireGuard && u.node.External && u.node.PublicKey == "" {
			t.refuse(u, "/spec/external", "an external node needs publicKey with the backend wireguard: nothing could be sent to it")
		}
		for i, a := range u.node.Addresses {
			at := pointer("/spec/addresses").item(i)
			if other := seen[a]; other != nil {
				t.refuse(u, at, "underlay address %s is also that of %s at %s", a, other.object(), other.meta.Place)
			} else {
				seen[a] = u
			}
			for _, p := range c.PodCIDRs {
				if p.Contains(a) {
					t.refuse(u, at, "underlay address %s is inside the pod range %s", a, p)
				}
			}
			for _, p := range c.ServiceCIDRs {
				if p.Contains(a) {
					t.refuse(u, at, "underlay address %s is inside the service range %s", a, p)
				}
			}
			if anyRange(c.LoadBalancerCIDRs, a) {
				t.refuse(u, at, "underlay address %s is one for load balancers", a)
			}
			if slices.Contains(c.DNS.Addresses, a) {
				t.refuse(u, at, "underlay address %s is the address of DNS", a)
			}
		}
		if a := u.node.Advertise.Addr(); !slices.Contains(u.node.Addresses, a) && anyRange(c.LoadBalancerCIDRs, a) {
			t.refuse(u, "/spec/advertise", "the advertised address %s is one for load balancers", a)
		}
	}
}

// rosterRules checks names of nodes against the roster, if there is one.
func (t *tree) rosterRules() {
	roster := make(map[string]*unit, len(t.nodes))
	var names []string
	for _, u := range t.nodes {
		roster[u.meta.Name.Name] = u
		names = append(names, u.meta.Name.Name)
	}
	if len(roster) == 0 {
		return
	}
	pinned := map[string]bool{}
	for _, u := range t.subnets {
		node := u.subnet.Node
		pinned[node] = true
		if node != "" && roster[node] == nil {
			t.refuse(u, "/spec/node", "node %s is not in the roster: no Node has that name%s", node, didYouMean(node, names))
		}
	}
	t.podsOnRoster(roster, names)
	for _, u := range t.nodes {
		if u.node.External && !pinned[u.meta.Name.Name] {
			t.warn(u, "/spec/external", "an external node without a pinned Subnet: nothing is routed to it")
		}
	}
}

// podsOnRoster looks at pods one by one only where a node has something
// wrong: at most times there is nothing to say about 100,000 pods.
func (t *tree) podsOnRoster(roster map[string]*unit, names []string) {
	wrong := map[string]bool{}
	for node := range t.parser.index.plain {
		wrong[node] = roster[node] == nil || roster[node].node.External
	}
	units := t.wishful()
	for _, isWrong := range wrong {
		if isWrong {
			units = t.pods
		}
	}
	for _, u := range units {
		node := roster[u.pod.NodeName]
		switch {
		case node == nil:
			t.refuse(u, "/spec/nodeName", "node %s is not in the roster: no Node has that name%s", u.pod.NodeName, didYouMean(u.pod.NodeName, names))
		case node.node.External && !u.pod.HostNetwork:
			t.warn(u, "/spec/nodeName", "node %s is external: no daemon there makes the pod", u.pod.NodeName)
		}
	}
}
