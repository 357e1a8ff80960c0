package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// labelKey is a label in a namespace.
type labelKey struct{ namespace, key, value string }

// podLabels is an index of pods by label.
type podLabels struct {
	pods map[labelKey][]*unit
	// dirty are the labels of pods that came or went since all selectors
	// were looked at.
	dirty map[labelKey]bool
}

func newPodLabels() podLabels {
	return podLabels{map[labelKey][]*unit{}, map[labelKey]bool{}}
}

func (l *podLabels) add(u *unit) {
	for key, value := range u.pod.Labels {
		k := labelKey{u.meta.Namespace, key, value}
		l.pods[k] = append(l.pods[k], u)
		l.dirty[k] = true
	}
}

// leave notes that a pod went. Without remove it stays in the lists, for
// rebuild to leave out.
func (l *podLabels) leave(u *unit, remove bool) {
	for key, value := range u.pod.Labels {
		k := labelKey{u.meta.Namespace, key, value}
		l.dirty[k] = true
		if !remove {
			continue
		}
		list := l.pods[k]
		if i := slices.Index(list, u); i >= 0 {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
		}
		if l.pods[k] = list; len(list) == 0 {
			delete(l.pods, k)
		}
	}
}

// rebuild makes the lists anew: to look for one pod after another in them
// takes long where most of many pods went.
func (l *podLabels) rebuild(pods []*unit) {
	clear(l.pods)
	for _, u := range pods {
		for key, value := range u.pod.Labels {
			k := labelKey{u.meta.Namespace, key, value}
			l.pods[k] = append(l.pods[k], u)
		}
	}
}

// selection is what a service's selector found. It stays true until a pod
// with the label comes or goes.
type selection struct {
	label   labelKey // of all pods that the selector can match
	matched bool
	missing []int // ports whose named targetPort no pod has
}

// selectorRules warns of services whose selector matches nothing, and of
// named target ports that none of their pods has. It looks at services that
// are new, and at those that what changed among the pods can concern.
func (t *tree) selectorRules() {
	labels, m := &t.parser.index.labels, &t.parser.index.memo
	for k := range labels.dirty {
		m.unselected = append(m.unselected, m.selecting[k]...)
	}
	for _, u := range m.unselected {
		if u.gone {
			continue
		}
		if u.selection != nil {
			m.unselect(u)
		}
		m.selects(u, labels)
	}
	m.unselected = nil
	labels.dirty = map[labelKey]bool{}
	misses := &nearMisses{labels: labels}
	for _, u := range slices.SortedFunc(maps.Keys(m.unmatched), compareUnits) {
		service := u.settled.service.service
		if !u.selection.matched {
			t.warn(u, "/spec/selector", "selector %s matches no Pod%s", selectorText(service.Selector), misses.text(service))
			continue
		}
		for _, i := range u.selection.missing {
			p := service.Ports[i]
			t.warn(u, pointer("/spec/ports").item(i).field("targetPort"), "no Pod that the service selects has a %s port named %q", p.Protocol, p.Target.Name)
		}
	}
}

// selects notes what the selector of a service finds.
func (m *memo) selects(u *unit, labels *podLabels) {
	service := u.settled.service.service
	if len(service.Selector) == 0 || service.Type == ExternalName {
		return
	}
	u.selection = labels.find(service)
	m.selecting[u.selection.label] = append(m.selecting[u.selection.label], u)
	if !u.selection.matched || len(u.selection.missing) > 0 {
		m.unmatched[u] = true
	}
}

// unselect forgets it.
func (m *memo) unselect(u *unit) {
	delete(m.unmatched, u)
	if u.selection != nil {
		leave(m.selecting, u.selection.label, u)
		u.selection = nil
	}
}

// find looks at the pods with that label of the selector that the fewest have.
func (l *podLabels) find(service *Service) *selection {
	s := &selection{}
	for key, value := range service.Selector {
		k := labelKey{service.Namespace, key, value}
		if s.label.key == "" || len(l.pods[k]) < len(l.pods[s.label]) {
			s.label = k
		}
	}
	for i, p := range service.Ports {
		if p.Target.Number == 0 {
			s.missing = append(s.missing, i)
		}
	}
	for _, u := range l.pods[s.label] {
		if !selects(service.Selector, u.pod.Labels) {
			continue
		}
		s.matched = true
		s.missing = slices.DeleteFunc(s.missing, func(i int) bool {
			p := service.Ports[i]
			return slices.ContainsFunc(u.pod.Ports, func(c ContainerPort) bool { return c.Name == p.Target.Name && c.Protocol == p.Protocol })
		})
		if len(s.missing) == 0 {
			break
		}
	}
	return s
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

// nearMisses finds out what selectors that match nothing may have meant.
// Words are collected when the first is asked for.
type nearMisses struct {
	labels *podLabels
	hints  int
	values map[string]map[string][]string // by namespace and key
	spaces []string                       // namespaces with pods
}

func (m *nearMisses) text(service *Service) string {
	if m.hints++; m.hints > maxHints {
		return ""
	}
	if m.values == nil {
		m.collect()
	}
	here := m.values[service.Namespace]
	for _, key := range slices.Sorted(maps.Keys(service.Selector)) {
		value := service.Selector[key]
		if m.count(service.Namespace, key, value) > 0 {
			continue
		}
		if near := nearest(value, here[key]); near != "" {
			return fmt.Sprintf("; %s %s=%s", have(m.count(service.Namespace, key, near)), key, near)
		}
		if near := nearest(key, slices.Collect(maps.Keys(here))); near != "" && m.count(service.Namespace, near, value) > 0 {
			return fmt.Sprintf("; %s %s=%s", have(m.count(service.Namespace, near, value)), near, value)
		}
	}
	return m.elsewhere(service)
}

func (m *nearMisses) count(namespace, key, value string) int {
	return len(m.labels.pods[labelKey{namespace, key, value}])
}

func (m *nearMisses) collect() {
	m.values = map[string]map[string][]string{}
	for k := range m.labels.pods {
		keys := m.values[k.namespace]
		if keys == nil {
			keys = map[string][]string{}
			m.values[k.namespace] = keys
		}
		keys[k.key] = append(keys[k.key], k.value)
	}
	m.spaces = slices.Sorted(maps.Keys(m.values))
}

// elsewhere looks for pods of other namespaces, and says whether the labels
// exist, but on different pods.
func (m *nearMisses) elsewhere(service *Service) string {
	for _, namespace := range m.spaces {
		other := *service
		other.Namespace = namespace
		n := 0
		for _, u := range m.labels.pods[m.labels.find(&other).label] {
			if selects(service.Selector, u.pod.Labels) {
				n++
			}
		}
		if n > 0 && namespace != service.Namespace {
			return fmt.Sprintf("; in namespace %s %s %s", namespace, have(n), theLabel(len(service.Selector)))
		}
	}
	for key, value := range service.Selector {
		if m.count(service.Namespace, key, value) == 0 {
			return ""
		}
	}
	return "; no Pod has all of these labels"
}

// have is the subject of a sentence about pods, with its verb.
func have(n int) string {
	if n == 1 {
		return "1 Pod has"
	}
	return fmt.Sprintf("%d Pods have", n)
}

func theLabel(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

func joinWords(words []string) string { return strings.Join(words, ", ") }
