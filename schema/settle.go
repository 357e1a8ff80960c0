package schema

import "fmt"

// settled is a document with what the Cluster decides about it.
type settled struct {
	subnet   *Subnet
	node     *Node
	service  *resolvedService
	findings []finding
	warnings []finding
}

// clusterKey holds everything of a Cluster that settle looks at: documents
// settled for one Cluster are the same for another with the same key.
func clusterKey(c *Cluster) string {
	return fmt.Sprint(c.ServiceCIDRs, c.DNS.Addresses, c.DNS.Enabled, c.NodePortRange, c.Masquerade.Enabled, c.Gossip.Port,
		c.PodCIDRs, c.ExternalIPCIDRs, c.LoadBalancerCIDRs)
}

// settle completes a document. What comes out is kept until the file or the
// relevant part of the Cluster changes, so that pointers stay the same.
func (u *unit) settle(c *Cluster, key string) *settled {
	if u.settled != nil && u.settledFor == key {
		return u.settled
	}
	s := &settled{}
	switch {
	case u.subnet != nil:
		subnet := *u.subnet
		subnet.Masquerade = c.Masquerade.Enabled
		if u.masquerade != nil {
			subnet.Masquerade = *u.masquerade
		}
		s.subnet = &subnet
	case u.node != nil:
		s.node = u.settleNode(c)
	case u.draft != nil:
		s.service = u.draft.resolve(c)
		s.findings, s.warnings = s.service.findings, s.service.warnings
	case u.slices != nil:
		s.findings = u.sliceAddresses(c)
	}
	u.settled, u.settledFor = s, key
	return s
}
