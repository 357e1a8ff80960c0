package services

import "github.com/poplin-net/poplin/schema"

// podIndex finds pods by one label of their namespace.
type podIndex map[labelKey][]*schema.Pod

type labelKey struct{ namespace, key, value string }

func indexPods(pods []*schema.Pod) podIndex {
	index := podIndex{}
	for _, p := range pods {
		for k, v := range p.Labels {
			key := labelKey{p.Namespace, k, v}
			index[key] = append(index[key], p)
		}
	}
	return index
}

// match returns the pods of a namespace that have every label of a selector,
// in the order of the documents. It walks the rarest label's pods only.
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
