package services

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/poplin-net/poplin/schema"
)

// TestMatchEqualsALinearSearch holds the index against the obvious way.
func TestMatchEqualsALinearSearch(t *testing.T) {
	word := rapid.SampledFrom([]string{"a", "b", "c"})
	labels := rapid.MapOfN(word, word, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		var pods []*schema.Pod
		for range rapid.IntRange(0, 12).Draw(t, "pods") {
			p := &schema.Pod{}
			p.Namespace, p.Labels = word.Draw(t, "namespace"), labels.Draw(t, "labels")
			pods = append(pods, p)
		}
		namespace := word.Draw(t, "namespace")
		selector := rapid.MapOfN(word, word, 1, 3).Draw(t, "selector")
		var want []*schema.Pod
		for _, p := range pods {
			if p.Namespace == namespace && hasLabels(p, selector) {
				want = append(want, p)
			}
		}
		index := podIndex{}
		for _, p := range pods {
			index.add(p)
		}
		if got := index.match(namespace, selector); !slices.Equal(got, want) {
			t.Fatalf("%v in %s: got %d pods, want %d", selector, namespace, len(got), len(want))
		}
		for _, p := range pods {
			index.remove(p)
		}
		if len(index) > 0 {
			t.Fatalf("%d labels are left of no pods", len(index))
		}
	})
}
