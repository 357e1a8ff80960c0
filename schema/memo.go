package schema

import (
	"maps"
	"net/netip"
	"slices"
)

// memo is what was found out about the documents of the last tree beyond
// each one's own text: what the Cluster makes of them, what they share, which
// of them there is something to say about. With it a tree costs what differs
// from the one before.
type memo struct {
	key   string  // of the Cluster that all of it is for; "": it is for none
	gone  []*unit // documents that went and came since
	fresh []*unit

	// The Config's lists. They are handed out, so that a change makes new ones.
	pods      []*Pod
	services  []*Service
	slices    []*EndpointSlice
	podsOn    map[string][]*Pod
	automatic int

	loud map[*unit]bool // settled with findings or warnings
	// uses counts how many have an address or a port, and shared those that
	// more than one has.
	uses   map[useKey]int
	shared int
	// addressed counts the services with a cluster IP by namespace.
	addressed map[string]int

	unselected []*unit // services whose selector is still to be looked at
	selecting  map[labelKey][]*unit
	unmatched  map[*unit]bool // services whose selector or target ports there is a warning for

	named map[Name][]*unit // slices, by the service that they name
	names map[Name]bool    // of services, for sliceRules to look at
}

// useKey is what only one service should have: an address, an address with a
// port, or with protocol and no address a node port.
type useKey struct {
	address  netip.Addr
	protocol Protocol
	port     uint16
}

// worthless reports whether a memo is no use for a tree: another Cluster, or
// too much that differs.
func (m *memo) worthless(key string, lists [][]*unit) bool {
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	return m.key != key || (len(m.gone)+len(m.fresh))*fewChanges > total
}

// start begins anew: all documents are fresh.
func (m *memo) start(key string, lists [][]*unit) {
	*m = memo{
		key: key, fresh: slices.Concat(lists...), loud: map[*unit]bool{}, uses: map[useKey]int{}, addressed: map[string]int{},
		selecting: map[labelKey][]*unit{}, unmatched: map[*unit]bool{}, named: map[Name][]*unit{}, names: map[Name]bool{},
	}
	for _, u := range m.fresh {
		u.selection, u.counted = nil, false
	}
}

// settle takes in the documents that came, and forgets those that went.
func (m *memo) settle(c *Cluster) {
	var gone, added documents
	for _, u := range m.gone {
		if u.counted {
			gone.add(u)
			m.count(u, -1)
		}
	}
	for _, u := range m.fresh {
		if u.gone {
			continue
		}
		if u.pod == nil {
			u.settle(c, m.key)
		}
		u.counted = true
		added.add(u)
		m.count(u, 1)
	}
	m.gone, m.fresh = nil, nil
	m.pods = patched(m.pods, gone.pods, added.pods, func(p *Pod) Name { return p.Meta.Name })
	m.services = patched(m.services, gone.services, added.services, func(s *Service) Name { return s.Meta.Name })
	m.slices = patched(m.slices, gone.slices, added.slices, func(s *EndpointSlice) Name { return s.Meta.Name })
	m.placePods(gone.pods, added.pods)
}

// documents are some, for the Config.
type documents struct {
	pods     []*Pod
	services []*Service
	slices   []*EndpointSlice
}

func (d *documents) add(u *unit) {
	switch {
	case u.pod != nil:
		d.pods = append(d.pods, u.pod)
	case u.draft != nil:
		d.services = append(d.services, u.settled.service.service)
	case u.slices != nil:
		d.slices = append(d.slices, u.slices...)
	}
}

// patched returns a list, sorted by name, without some documents and with
// others. The list itself stays as it is.
func patched[T comparable](list, gone, added []T, name func(T) Name) []T {
	if len(gone)+len(added) == 0 {
		return list
	}
	byName := func(a, b T) int { return name(a).Compare(name(b)) }
	if len(list) == 0 {
		return slices.SortedFunc(slices.Values(added), byName)
	}
	out := append(make([]T, 0, len(list)+len(added)), list...)
	return splice(out, gone, added, byName)
}

// splice changes a sorted list in place: what is gone and comes again under
// the same name, as most do, moves nothing else.
func splice[T comparable](list, gone, added []T, compare func(a, b T) int) []T {
	added = slices.Clone(added)
	slices.SortFunc(added, compare)
	for _, g := range gone {
		i, found := slices.BinarySearchFunc(list, g, compare)
		if !found || list[i] != g {
			continue
		}
		if k, again := slices.BinarySearchFunc(added, g, compare); again {
			list[i] = added[k]
			added = slices.Delete(added, k, k+1)
		} else {
			list = slices.Delete(list, i, i+1)
		}
	}
	for _, d := range added {
		i, _ := slices.BinarySearchFunc(list, d, compare)
		list = slices.Insert(list, i, d)
	}
	if len(list) == 0 {
		return nil
	}
	return list
}

// placePods keeps the lists of pods by node.
func (m *memo) placePods(gone, added []*Pod) {
	if len(gone)+len(added) == 0 && m.podsOn != nil {
		return
	}
	byNode := func(pods []*Pod) map[string][]*Pod {
		out := map[string][]*Pod{}
		for _, p := range pods {
			out[p.NodeName] = append(out[p.NodeName], p)
		}
		return out
	}
	out, in := byNode(gone), byNode(added)
	next := maps.Clone(m.podsOn)
	if next == nil {
		next = map[string][]*Pod{}
	}
	for _, nodes := range []map[string][]*Pod{out, in} {
		for node := range nodes {
			next[node] = patched(m.podsOn[node], out[node], in[node], func(p *Pod) Name { return p.Meta.Name })
			if next[node] == nil {
				delete(next, node)
			}
		}
	}
	m.podsOn = next
}

// count notes, or with -1 forgets, what a settled document has.
func (m *memo) count(u *unit, by int) {
	if u.pod != nil {
		return
	}
	if by > 0 && len(u.settled.findings)+len(u.settled.warnings) > 0 {
		m.loud[u] = true
	} else if by < 0 {
		delete(m.loud, u)
	}
	switch {
	case u.draft != nil:
		m.names[u.meta.Name] = true
		m.automatic += by * u.settled.service.automatic
		m.countUses(u.settled.service.service, by)
		if len(u.settled.service.service.ClusterIPs) > 0 {
			m.addressed[u.meta.Namespace] += by
		}
		if by > 0 {
			m.unselected = append(m.unselected, u)
		} else {
			m.unselect(u)
		}
	case u.slices != nil:
		name := u.serviceNamed()
		m.names[name] = true
		if by > 0 {
			i, _ := slices.BinarySearchFunc(m.named[name], u, compareUnits)
			m.named[name] = slices.Insert(m.named[name], i, u)
		} else if i := slices.Index(m.named[name], u); i >= 0 {
			if m.named[name] = slices.Delete(m.named[name], i, i+1); len(m.named[name]) == 0 {
				delete(m.named, name)
			}
		}
	}
}

func (m *memo) countUses(s *Service, by int) {
	use := func(k useKey) {
		before := m.uses[k]
		m.uses[k] = before + by
		switch {
		case before+by == 0:
			delete(m.uses, k)
		case before == 1 && by > 0:
			m.shared++
		case before == 2 && by < 0:
			m.shared--
		}
	}
	for _, a := range slices.Concat(s.ClusterIPs, s.LoadBalancerIPs) {
		use(useKey{address: a})
	}
	for _, p := range s.Ports {
		if p.NodePort != 0 {
			use(useKey{protocol: p.Protocol, port: p.NodePort})
		}
		for _, a := range slices.Concat(s.LoadBalancerIPs, s.ExternalIPs) {
			use(useKey{a, p.Protocol, p.Port})
		}
	}
	if s.HealthCheckNodePort != 0 {
		use(useKey{protocol: TCP, port: s.HealthCheckNodePort})
	}
}

// leave takes a unit out of a list of a map, and the list with its last.
func leave[K comparable](lists map[K][]*unit, key K, u *unit) {
	list := lists[key]
	if i := slices.Index(list, u); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if lists[key] = list; len(list) == 0 {
		delete(lists, key)
	}
}
