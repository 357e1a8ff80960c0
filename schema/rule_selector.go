package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// labelKey is a label in a namespace.
type labelKey struct{ namespace, key, value string }

// selecting is a service whose pods are being looked for.
type selecting struct {
	unit    *unit
	matched bool
	missing []int // ports whose named targetPort no pod had yet
}

// selectorRules warns of services whose selector matches nothing, and of
// named target ports that none of their pods has.
func (t *tree) selectorRules() {
	waiting := t.selectors()
	for _, u := range t.pods {
		for key, value := range u.pod.Labels {
			for _, s := range waiting[labelKey{u.meta.Namespace, key, value}] {
				s.look(u.pod)
			}
		}
	}
	pods := &podLabels{pods: t.pods}
	for _, u := range t.services {
		service := u.settled.service.service
		if len(service.Selector) == 0 {
			continue
		}
		s := u.selecting
		u.selecting = nil
		if !s.matched {
			t.warn(u, "/spec/selector", "selector %s matches no Pod%s", selectorText(service.Selector), pods.nearMiss(service))
			continue
		}
		for _, i := range s.missing {
			p := service.Ports[i]
			t.warn(u, pointer("/spec/ports").item(i).field("targetPort"), "no Pod that the service selects has a %s port named %q", p.Protocol, p.Target.Name)
		}
	}
}

// selectors indexes the services by one label of their selector: the one
// that the fewest services ask for, so that a label that all have does not
// make every pod look at every service.
func (t *tree) selectors() map[labelKey][]*selecting {
	popular := map[labelKey]int{}
	for _, u := range t.services {
		for key, value := range u.settled.service.service.Selector {
			popular[labelKey{u.meta.Namespace, key, value}]++
		}
	}
	waiting := make(map[labelKey][]*selecting, len(t.services))
	for _, u := range t.services {
		service := u.settled.service.service
		if len(service.Selector) == 0 {
			continue
		}
		var rarest labelKey
		for key, value := range service.Selector {
			k := labelKey{u.meta.Namespace, key, value}
			if rarest.key == "" || popular[k] < popular[rarest] {
				rarest = k
			}
		}
		s := &selecting{unit: u}
		for i, p := range service.Ports {
			if p.Target.Number == 0 {
				s.missing = append(s.missing, i)
			}
		}
		u.selecting = s
		waiting[rarest] = append(waiting[rarest], s)
	}
	return waiting
}

// look sees whether the service selects the pod, and which named ports it has.
func (s *selecting) look(pod *Pod) {
	service := s.unit.settled.service.service
	if s.matched && len(s.missing) == 0 || !selects(service.Selector, pod.Labels) {
		return
	}
	s.matched = true
	s.missing = slices.DeleteFunc(s.missing, func(i int) bool {
		p := service.Ports[i]
		return slices.ContainsFunc(pod.Ports, func(c ContainerPort) bool { return c.Name == p.Target.Name && c.Protocol == p.Protocol })
	})
}

// selects reports whether all of the selector's labels are there.
func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}

func selectorText(selector map[string]string) string {
	words := make([]string, 0, len(selector))
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		words = append(words, key+"="+selector[key])
	}
	return strings.Join(words, ",")
}

// podLabels counts labels of pods, made when the first near miss is asked for.
type podLabels struct {
	pods   []*unit
	hints  int
	counts map[string]map[string]map[string]int // namespace, key, value
}

// nearMiss says what a selector that matches nothing may have meant.
func (l *podLabels) nearMiss(service *Service) string {
	if l.hints++; l.hints > maxHints {
		return ""
	}
	if l.counts == nil {
		l.count()
	}
	here := l.counts[service.Namespace]
	for _, key := range slices.Sorted(maps.Keys(service.Selector)) {
		value := service.Selector[key]
		values := here[key]
		if values[value] > 0 {
			continue
		}
		if near := nearest(value, slices.Collect(maps.Keys(values))); near != "" {
			return fmt.Sprintf("; %s %s=%s", have(values[near]), key, near)
		}
		if near := nearest(key, slices.Collect(maps.Keys(here))); near != "" && here[near][value] > 0 {
			return fmt.Sprintf("; %s %s=%s", have(here[near][value]), near, value)
		}
	}
	return l.elsewhere(service)
}

// elsewhere looks for pods of other namespaces, and says whether the labels
// exist, but on different pods.
func (l *podLabels) elsewhere(service *Service) string {
	found := map[string]int{}
	for _, u := range l.pods {
		if selects(service.Selector, u.pod.Labels) {
			found[u.meta.Namespace]++
		}
	}
	for _, namespace := range slices.Sorted(maps.Keys(found)) {
		return fmt.Sprintf("; in namespace %s %s them", namespace, have(found[namespace]))
	}
	for key, value := range service.Selector {
		if l.counts[service.Namespace][key][value] == 0 {
			return ""
		}
	}
	return "; no Pod has all of these labels"
}

func (l *podLabels) count() {
	l.counts = map[string]map[string]map[string]int{}
	for _, u := range l.pods {
		keys := l.counts[u.meta.Namespace]
		if keys == nil {
			keys = map[string]map[string]int{}
			l.counts[u.meta.Namespace] = keys
		}
		for key, value := range u.pod.Labels {
			if keys[key] == nil {
				keys[key] = map[string]int{}
			}
			keys[key][value]++
		}
	}
}

// have is the subject of a sentence about pods, with its verb.
func have(n int) string {
	if n == 1 {
		return "1 Pod has"
	}
	return fmt.Sprintf("%d Pods have", n)
}

func joinWords(words []string) string { return strings.Join(words, ", ") }
