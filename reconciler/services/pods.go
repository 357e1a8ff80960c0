package services

import (
	"slices"

	"github.com/poplin-net/poplin/schema"
)

// podIndex finds pods by one label of their namespace.
type podIndex map[labelKey][]*schema.Pod

type labelKey struct{ namespace, key, value string }

func (x podIndex) add(p *schema.Pod) {
	for k, v := range p.Labels {
		key := labelKey{p.Namespace, k, v}
		x[key] = append(x[key], p)
	}
}

func (x podIndex) remove(p *schema.Pod) {
	for k, v := range p.Labels {
		key := labelKey{p.Namespace, k, v}
		without(x, key, p)
	}
}

// without takes one value out of a list of a map, and the list with its last.
// The order of the others changes.
func without[K, V comparable](lists map[K][]V, key K, value V) {
	list := lists[key]
	if i := slices.Index(list, value); i >= 0 {
		last := len(list) - 1
		list[i] = list[last]
		clear(list[last:])
		list = list[:last]
	}
	if lists[key] = list; len(list) == 0 {
		delete(lists, key)
	}
}

// match returns the pods of a namespace that have every label of a selector,
// in no particular order. It walks the rarest label's pods only.
func (x podIndex) match(namespace string, selector map[string]string) []*schema.Pod {
	var rarest []*schema.Pod
	first := true
	for k, v := range selector {
		if pods := x[labelKey{namespace, k, v}]; first || len(pods) < len(rarest) {
			rarest, first = pods, false
		}
	}
	if len(selector) == 1 {
		return rarest
	}
	var out []*schema.Pod
	for _, p := range rarest {
		if hasLabels(p, selector) {
			out = append(out, p)
		}
	}
	return out
}

func hasLabels(p *schema.Pod, selector map[string]string) bool {
	for k, v := range selector {
		if p.Labels[k] != v {
			return false
		}
	}
	return true
}
