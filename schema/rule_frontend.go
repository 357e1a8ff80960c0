package schema

import (
	"fmt"
	"net/netip"
)

// allocateHint is what settles a clash of which at least one side is
// automatic.
const allocateHint = "; `poplin allocate DIR` writes free ones into the files"

// frontendRules refuses two services with one cluster IP or one node port.
func (t *tree) frontendRules() {
	if t.parser.index.memo.shared == 0 {
		return
	}
	addresses := make(map[netip.Addr]frontendUse, len(t.services))
	ports := make(map[nodePortKey]frontendUse)
	for _, u := range t.services {
		r := u.settled.service
		for i, a := range r.service.ClusterIPs {
			use := frontendUse{u, u.draft.addressAt(i), r.automaticIPs[i]}
			first, taken := addresses[a]
			if !taken {
				addresses[a] = use
				continue
			}
			t.clash("cluster IP "+a.String(), first, use)
		}
		for i, p := range r.service.Ports {
			if p.NodePort == 0 {
				continue
			}
			key := nodePortKey{p.NodePort, p.Protocol}
			t.nodePort(ports, key, u.nodePortUse(i))
		}
		if port := r.service.HealthCheckNodePort; port != 0 {
			t.nodePort(ports, nodePortKey{port, TCP}, u.healthUse())
		}
	}
}

// nodePortUse is a service's use of the node port of one of its ports.
func (u *unit) nodePortUse(port int) frontendUse {
	use := frontendUse{u, pointer("/spec/ports").item(port), u.settled.service.automaticPorts[port]}
	if !use.automatic {
		use.at = use.at.field("nodePort")
	}
	return use
}

// healthUse is its use of the health check's node port.
func (u *unit) healthUse() frontendUse {
	return frontendUse{u, "/spec/healthCheckNodePort", u.settled.service.automaticHealth}
}

// nodePort notes the use of a node port, or refuses the second.
func (t *tree) nodePort(ports map[nodePortKey]frontendUse, key nodePortKey, use frontendUse) {
	if first, taken := ports[key]; taken {
		t.clash(fmt.Sprintf("node port %d/%s", key.port, key.protocol), first, use)
		return
	}
	ports[key] = use
}

// externalKey is an address and port outside of the service ranges.
type externalKey struct {
	address  netip.Addr
	protocol Protocol
	port     uint16
}

// externalRules refuses two services with one external address and port.
// Several may share an address that is written down; what nobody wrote down
// is for one alone.
func (t *tree) externalRules() {
	if t.parser.index.memo.shared == 0 {
		return
	}
	addresses, frontends := map[netip.Addr]frontendUse{}, map[externalKey]frontendUse{}
	for _, u := range t.services {
		r := u.settled.service
		for i, a := range r.service.LoadBalancerIPs {
			use := frontendUse{u, r.balancer[i].at, r.balancer[i].automatic}
			first, taken := addresses[a]
			if taken && (first.automatic || use.automatic) {
				t.clash("load balancer address "+a.String(), first, use)
				continue
			}
			if taken && first.unit != u && len(first.unit.settled.service.service.PortRanges)+len(r.service.PortRanges) > 0 {
				t.clash("load balancer address "+a.String()+", which has a range of ports,", first, use)
				continue
			}
			addresses[a] = use
			t.externalPorts(frontends, a, use)
		}
		for i, a := range r.service.ExternalIPs {
			t.externalPorts(frontends, a, frontendUse{u, pointer("/spec/externalIPs").item(i), false})
		}
	}
}

func (t *tree) externalPorts(frontends map[externalKey]frontendUse, a netip.Addr, use frontendUse) {
	for _, p := range use.unit.settled.service.service.Ports {
		key := externalKey{a, p.Protocol, p.Port}
		first, taken := frontends[key]
		if taken && first.unit != use.unit {
			t.clash(fmt.Sprintf("external address %s, port %d/%s", a, p.Port, p.Protocol), first, use)
		}
		frontends[key] = use
	}
}

type nodePortKey struct {
	port     uint16
	protocol Protocol
}

// frontendUse is a service's use of an address or a node port.
type frontendUse struct {
	unit      *unit
	at        pointer
	automatic bool
}

func (f frontendUse) String() string {
	text := f.unit.meta.Name.String()
	if f.automatic {
		text += " (automatic)"
	}
	return text + " at " + f.unit.meta.Place.String()
}

// clash reports at the automatic one of two, else at the later.
func (t *tree) clash(what string, first, second frontendUse) {
	if first.automatic && !second.automatic {
		first, second = second, first
	}
	if second.automatic && t.allocating {
		return
	}
	hint := ""
	if second.automatic {
		hint = allocateHint
	}
	of := second.unit.meta.Name.String()
	if second.automatic {
		of += " (automatic)"
	}
	t.refuse(second.unit, second.at, "%s of %s is also that of %s%s", what, of, first, hint)
}
