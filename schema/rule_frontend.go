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
			use := frontendUse{u, pointer("/spec/ports").item(i), r.automaticPorts[i]}
			if !use.automatic {
				use.at = use.at.field("nodePort")
			}
			first, taken := ports[key]
			if !taken {
				ports[key] = use
				continue
			}
			t.clash(fmt.Sprintf("node port %d/%s", key.port, key.protocol), first, use)
		}
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
