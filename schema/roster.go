package schema

import "net/netip"

// node converts a Node. The port of Advertise is 0 where none is written:
// it is the Cluster's gossip port.
func (c *conversion) node(d *nodeDocument) *Node {
	s := &d.Spec
	out := &Node{
		Meta:      c.meta,
		Addresses: addresses(s.Addresses),
		MTU:       s.MTU,
		Drain:     s.Drain,
		External:  s.External,
		PublicKey: s.PublicKey,
	}
	if s.VTEPMAC != "" {
		out.VTEPMAC = parseMAC(s.VTEPMAC)
		if !s.External {
			c.refuse("/spec/vtepMAC", "only an external node's is written: other nodes say theirs by themselves")
		}
	}
	at := pointer("/spec/addresses")
	c.onePerFamily(at, out.Addresses)
	for i, a := range out.Addresses {
		c.unicast(at.item(i), a)
	}
	text := s.Advertise
	if text == "" {
		text = out.Addresses[0].String()
	}
	out.Advertise, _ = parseIPPort(text)
	if s.Advertise != "" {
		c.unicast("/spec/advertise", out.Advertise.Addr())
	}
	return out
}

// settleNode gives the node the Cluster's gossip port where its document says none.
func (u *unit) settleNode(c *Cluster) *Node {
	if u.node.Advertise.Port() != 0 {
		return u.node
	}
	node := *u.node
	node.Advertise = netip.AddrPortFrom(node.Advertise.Addr(), c.Gossip.Port)
	return &node
}
