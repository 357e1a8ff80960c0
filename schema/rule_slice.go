package schema

import (
	"maps"
	"slices"
)

// endpointsRules refuses Endpoints beside slices of the same service.
func (t *tree) endpointsRules() {
	if t.parser.index.byKind["Endpoints"] == 0 {
		return
	}
	slicesOf := map[Name]*unit{}
	for _, u := range t.slices {
		if u.kind.name == "EndpointSlice" {
			slicesOf[serviceOf(u.slices[0])] = u
		}
	}
	for _, u := range t.slices {
		if u.kind.name != "Endpoints" {
			continue
		}
		if other := slicesOf[u.meta.Name]; other != nil {
			t.refuse(u, "/metadata/name", "Service %s has Endpoints, and the %s at %s; keep the slice", u.meta.Name, other.object(), other.meta.Place)
		}
	}
}

// serviceOf is the name of the slice's Service.
func serviceOf(s *EndpointSlice) Name { return Name{s.Namespace, s.Service} }

// sliceRules warns of slices that no service uses, of their ports that the
// service does not have, and of services that neither select nor have slices.
// It looks at the services that changed or whose slices did, and at those
// that it warned of before.
func (t *tree) sliceRules() {
	m := &t.parser.index.memo
	hints := 0
	warned := map[Name]bool{} // not m.names once more: to look into what was large costs as much for ever
	for _, name := range slices.SortedFunc(maps.Keys(m.names), Name.Compare) {
		before := len(t.diagnostics)
		t.sliceRule(name, &hints)
		if len(t.diagnostics) > before {
			warned[name] = true
		}
	}
	m.names = warned
}

// sliceRule looks at the service of a name and the slices that name it.
func (t *tree) sliceRule(name Name, hints *int) {
	named := t.parser.index.memo.named[name]
	i, found := slices.BinarySearchFunc(t.services, name, func(u *unit, name Name) int { return u.meta.Name.Compare(name) })
	if !found {
		for _, u := range named {
			hint := ""
			if *hints++; *hints <= maxHints {
				hint = didYouMean(name.Name, t.serviceNames(name.Namespace))
			}
			t.warn(u, serviceAt(u), "there is no Service %s%s", name, hint)
		}
		return
	}
	service := t.services[i].settled.service.service
	for _, u := range named {
		if len(service.Selector) > 0 {
			t.warn(u, serviceAt(u), "not used: Service %s has a selector, so its endpoints are Pods", name)
		} else {
			t.slicePortRules(u, service)
		}
	}
	if len(service.Selector) == 0 && service.Type != ExternalName && len(named) == 0 {
		t.warn(t.services[i], "/metadata/name", "the service has no selector, and no EndpointSlice names it: nothing answers")
	}
}

// serviceAt points to where a slice names its service.
func serviceAt(u *unit) pointer {
	if u.kind.name == "EndpointSlice" {
		return pointer("/metadata/labels").field(serviceNameLabel)
	}
	return "/metadata/name"
}

// serviceNamed is the name of the service that a slice is for, or Endpoints.
func (u *unit) serviceNamed() Name {
	if u.kind.name == "EndpointSlice" {
		return serviceOf(u.slices[0])
	}
	return u.meta.Name
}

func (t *tree) serviceNames(namespace string) []string {
	var names []string
	for _, u := range t.services {
		if u.meta.Namespace == namespace {
			names = append(names, u.meta.Name.Name)
		}
	}
	return names
}

func (t *tree) slicePortRules(u *unit, service *Service) {
	for n, s := range u.slices {
		if !slices.Contains(service.Families, s.Family) && u.kind.name == "EndpointSlice" {
			t.warn(u, "/addressType", "not used: Service %s has no address of %s", service.Name, s.Family)
		}
		for i, p := range s.Ports {
			t.slicePortRule(u, u.portAt(n, i), p, service)
		}
	}
}

// portAt points to a port of a slice in its document.
func (u *unit) portAt(slice, port int) pointer {
	if u.kind.name == "EndpointSlice" {
		return pointer("/ports").item(port)
	}
	return "/subsets"
}

func (t *tree) slicePortRule(u *unit, at pointer, p SlicePort, service *Service) {
	names := make([]string, 0, len(service.Ports))
	for _, q := range service.Ports {
		if q.Name != p.Name {
			names = append(names, q.Name)
			continue
		}
		if q.Protocol != p.Protocol {
			t.warn(u, at, "port %s is %s, but %s in Service %s", nameOrNone(p.Name), p.Protocol, q.Protocol, service.Name)
		}
		return
	}
	for i, name := range names {
		names[i] = nameOrNone(name)
	}
	t.warn(u, at, "no port of Service %s is named %s; there is %s", service.Name, nameOrNone(p.Name), joinWords(names))
}

func nameOrNone(name string) string {
	if name == "" {
		return `""`
	}
	return name
}
