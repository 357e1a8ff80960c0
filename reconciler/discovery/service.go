package discovery

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/schema"
)

// named is a name that belongs to one service, with all its records.
type named struct {
	name string
	sets []Set
}

// shared is a record that several may ask for: the names of an address in
// two services, or of two pods with the node's address.
type shared struct {
	name string
	kind uint16
	data string
}

// records are what one service asks for.
type records struct {
	own    []named
	shared []shared
}

// ofService lists the records of a service, as the Kubernetes DNS
// specification 1.1.0 has them (2.3 to 2.5). Names are below the suffix
// svc.DOMAIN.
func ofService(s *services.Service, suffix string) records {
	d := s.Document
	base := label(d.Name.Name) + label(d.Namespace) + suffix
	switch {
	case len(base) > greatestName:
		return records{} // a long domain: nobody can ask for it
	case d.Type == schema.ExternalName:
		return records{own: []named{{base, []Set{newSet(TypeCNAME, Wire(d.ExternalName))}}}}
	case d.Headless:
		return ofHeadless(s, base)
	}
	out := records{own: []named{{base, addressSets(d.ClusterIPs)}}}
	for _, p := range d.Ports {
		if p.Name == "" {
			continue
		}
		name := portName(p) + base
		set := newSet(TypeSRV, serviceData(1, p.Port, base))
		set.Extra, set.Additional = additional(nil, d.ClusterIPs, question+len(name)-len(base))
		out.own = append(out.own, named{name, []Set{set}})
	}
	for _, a := range d.ClusterIPs {
		out.shared = append(out.shared, shared{reverse(a), TypePTR, base})
	}
	return out
}

// portName is the labels that SRV records have before the service's.
func portName(p schema.ServicePort) string {
	return label("_"+p.Name) + label("_"+strings.ToLower(p.Protocol.String()))
}

// additional prepares the address records of one name: labels, and the rest
// at an offset into the question.
func additional(labels []byte, addresses []netip.Addr, rest int) (extra string, count uint16) {
	var b []byte
	for _, a := range addresses {
		b = append(b, labels...)
		b = appendRecord(b, rest, addressType(a), string(a.AsSlice()))
	}
	return string(b), uint16(len(addresses))
}

// host is the endpoints of a headless service that share a name.
type host struct {
	label     string
	addresses []netip.Addr
	endpoints []*services.HeadlessEndpoint
}

// ofHeadless lists the records of a headless service: its own name has all
// ready endpoints, each of which has a name of its own. Without any there is
// no name.
func ofHeadless(s *services.Service, base string) records {
	if len(s.Headless) == 0 {
		return records{}
	}
	var out records
	all := make([]netip.Addr, 0, len(s.Headless))
	for _, e := range s.Headless {
		all = append(all, e.Address)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	out.own = append(out.own, named{base, addressSets(slices.Compact(all))})
	hosts := hostsOf(s.Headless, base)
	for _, h := range hosts {
		name := h.label + base
		out.own = append(out.own, named{name, addressSets(h.addresses)})
		for _, a := range h.addresses {
			out.shared = append(out.shared, shared{reverse(a), TypePTR, name})
		}
	}
	for _, p := range s.Document.Ports {
		if p.Name == "" {
			continue
		}
		if set := headlessService(hosts, p, base); set.Count > 0 {
			out.own = append(out.own, named{portName(p) + base, []Set{set}})
		}
	}
	return out
}

// hostsOf groups endpoints by their names below a base: the hostname, or else
// the address with dashes. The order is that of the first addresses.
func hostsOf(list []services.HeadlessEndpoint, base string) []*host {
	var out []*host
	byLabel := make(map[string]*host, len(list))
	for i := range list {
		e := &list[i]
		text := e.Hostname
		if text == "" {
			text = dashed(e.Address)
		}
		if 1+len(text)+len(base) > greatestName {
			continue
		}
		h := byLabel[text]
		if h == nil {
			h = &host{label: label(text)}
			byLabel[text] = h
			out = append(out, h)
		}
		if !slices.Contains(h.addresses, e.Address) {
			h.addresses = append(h.addresses, e.Address)
		}
		h.endpoints = append(h.endpoints, e)
	}
	return out
}

// headlessService prepares the SRV records of one port: one for each host and
// number that the port has there.
func headlessService(hosts []*host, p schema.ServicePort, base string) Set {
	rest := question + len(portName(p))
	var data []string
	var extra []byte
	count := 0
	for _, h := range hosts {
		var numbers []uint16
		for _, e := range h.endpoints {
			for _, port := range e.Ports {
				if port.Name == p.Name && port.Protocol == p.Protocol && !slices.Contains(numbers, port.Port) {
					numbers = append(numbers, port.Port)
					data = append(data, serviceData(uint16(e.Weight), port.Port, h.label+base))
				}
			}
		}
		if len(numbers) > 0 {
			more, n := additional([]byte(h.label), h.addresses, rest)
			extra, count = append(extra, more...), count+int(n)
		}
	}
	set := newSet(TypeSRV, data...)
	// More than that do not fit into any message, with the answers before them.
	if len(set.Answers)+len(extra) < 1<<16 {
		set.Extra, set.Additional = string(extra), uint16(count)
	}
	return set
}

// soaData is the record of every zone's apex. Negative answers may be
// remembered as long as others.
func soaData(domain string, serial uint32) string {
	b := []byte("\x02ns\x03dns" + domain + "\x0ahostmaster" + domain)
	for _, n := range []uint32{serial, 7200, 1800, 86400, TTL} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return string(b)
}
