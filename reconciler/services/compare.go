package services

import (
	"cmp"

	"github.com/poplin-net/poplin/schema"
)

// changes are the documents that one list has and another has not.
type changes[T comparable] struct{ gone, added []T }

func (c changes[T]) len() int { return len(c.gone) + len(c.added) }

// compareLists compares two sorted lists of documents. Those that both share
// are not looked into.
func compareLists[T comparable](before, after []T, compare func(a, b T) int) changes[T] {
	var c changes[T]
	for len(before) > 0 && len(after) > 0 {
		if before[0] == after[0] {
			before, after = before[1:], after[1:]
			continue
		}
		order := compare(before[0], after[0])
		if order <= 0 {
			c.gone, before = append(c.gone, before[0]), before[1:]
		}
		if order >= 0 {
			c.added, after = append(c.added, after[0]), after[1:]
		}
	}
	c.gone, c.added = append(c.gone, before...), append(c.added, after...)
	return c
}

func comparePods(a, b *schema.Pod) int             { return a.Meta.Name.Compare(b.Meta.Name) }
func compareServices(a, b *schema.Service) int     { return a.Meta.Name.Compare(b.Meta.Name) }
func compareSlices(a, b *schema.EndpointSlice) int { return a.Meta.Name.Compare(b.Meta.Name) }
func compareNodes(a, b *schema.Node) int           { return cmp.Compare(a.Meta.Name.Name, b.Meta.Name.Name) }
