package schema

import "slices"

// endpointsRules refuses Endpoints beside slices of the same service.
func (t *tree) endpointsRules() {
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
func (t *tree) sliceRules() {
	services := make(map[Name]*unit, len(t.services))
	for _, u := range t.services {
		services[u.meta.Name] = u
	}
	used := make(map[Name]bool, len(t.slices))
	hints := 0
	for _, u := range t.slices {
		name := Name{u.meta.Namespace, u.meta.Name.Name}
		at := pointer("/metadata/name")
		if u.kind.name == "EndpointSlice" {
			name = serviceOf(u.slices[0])
			at = pointer("/metadata/labels").field(serviceNameLabel)
		}
		used[name] = true
		s := services[name]
		if s == nil {
			hint := ""
			if hints++; hints <= maxHints {
				hint = didYouMean(name.Name, t.serviceNames(name.Namespace))
			}
			t.warn(u, at, "there is no Service %s%s", name, hint)
			continue
		}
		if service := s.settled.service.service; len(service.Selector) > 0 {
			t.warn(u, at, "not used: Service %s has a selector, so its endpoints are Pods", name)
		} else {
			t.slicePortRules(u, service)
		}
	}
	for _, u := range t.services {
		service := u.settled.service.service
		if len(service.Selector) == 0 && service.Type != ExternalName && !used[u.meta.Name] {
			t.warn(u, "/metadata/name", "the service has no selector, and no EndpointSlice names it: nothing answers")
		}
	}
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
