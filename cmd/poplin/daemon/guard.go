package daemon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/schema"
)

// removalFloor is the number of documents that a revision may always remove.
const removalFloor = 5

// guard returns why a revision must be acknowledged before it is followed,
// or "". More documents than the Cluster's removalLimit going away at once is
// more often an accident than a wish. A changed annotation
// poplin/allow-removal allows that many.
func guard(before, after *schema.Config) string {
	gone, total := removed(before, after)
	limit := before.Cluster.RemovalLimit.Count
	if p := before.Cluster.RemovalLimit.Percent; p > 0 {
		limit = total * p / 100
	}
	limit = max(limit, removalFloor)
	if allowed := after.Cluster.AllowRemoval; allowed != before.Cluster.AllowRemoval {
		limit = max(limit, allowed)
	}
	if gone <= limit {
		return ""
	}
	return fmt.Sprintf("%d of %d documents would go, more than %d", gone, total, limit)
}

// removed counts the documents that a later revision has no more. Those that
// both share are not looked into.
func removed(before, after *schema.Config) (gone, total int) {
	for kind, n := range before.ByKind {
		if kind != "Cluster" {
			total += n
		}
	}
	gone = len(goneFrom(before.Nodes, after.Nodes, func(n *schema.Node) schema.Name { return n.Meta.Name })) +
		len(goneFrom(before.Subnets, after.Subnets, func(s *schema.Subnet) schema.Name { return s.Meta.Name })) +
		len(goneFrom(before.Pods, after.Pods, func(p *schema.Pod) schema.Name { return p.Meta.Name })) +
		len(goneFrom(before.Services, after.Services, func(s *schema.Service) schema.Name { return s.Meta.Name }))
	documents := map[schema.Name]bool{}
	for _, name := range goneFrom(before.Slices, after.Slices, sliceName) {
		if document := documentOf(name); !hasSlice(after.Slices, document) {
			documents[document] = true
		}
	}
	return gone + len(documents), total
}

func sliceName(s *schema.EndpointSlice) schema.Name { return s.Meta.Name }

// documentOf is the name of a slice's document: an Endpoints document is a
// slice per subset, NAME:SUBSET.
func documentOf(slice schema.Name) schema.Name {
	name, _, _ := strings.Cut(slice.Name, ":")
	return schema.Name{Namespace: slice.Namespace, Name: name}
}

// hasSlice reports whether a document still gives slices.
func hasSlice(list []*schema.EndpointSlice, document schema.Name) bool {
	for _, from := range []string{document.Name, document.Name + ":"} {
		i, _ := slices.BinarySearchFunc(list, schema.Name{Namespace: document.Namespace, Name: from}, func(s *schema.EndpointSlice, n schema.Name) int {
			return s.Meta.Name.Compare(n)
		})
		if i < len(list) && documentOf(list[i].Meta.Name) == document {
			return true
		}
	}
	return false
}

// goneFrom lists the names that one sorted list has and another has not.
func goneFrom[T comparable](before, after []T, name func(T) schema.Name) []schema.Name {
	var gone []schema.Name
	for _, d := range before {
		if len(after) > 0 && after[0] == d {
			after = after[1:]
			continue
		}
		for len(after) > 0 && name(after[0]).Compare(name(d)) < 0 {
			after = after[1:]
		}
		if len(after) == 0 || name(after[0]) != name(d) {
			gone = append(gone, name(d))
		} else {
			after = after[1:]
		}
	}
	return gone
}

// otherCluster refuses documents of another cluster: what this one made would
// be left behind under its marks.
func otherCluster(before, after *schema.Config) schema.Diagnostics {
	was, is := before.Cluster.Meta.Name.Name, after.Cluster.Meta.Name.Name
	if was == is {
		return nil
	}
	return schema.Diagnostics{{
		Severity: schema.Error, File: after.Cluster.Place.File, Line: after.Cluster.Place.Line, Column: after.Cluster.Place.Column,
		Object: "Cluster " + is, Path: "metadata.name",
		Message: fmt.Sprintf("this node is in cluster %q; to move it to %q stop poplin, run `poplin cleanup`, and start it again", was, is),
	}}
}
