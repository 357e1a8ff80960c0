package daemon

import (
	"fmt"
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

// removed counts the documents that a later revision has no more.
func removed(before, after *schema.Config) (gone, total int) {
	type key struct {
		kind string
		name schema.Name
	}
	names := func(c *schema.Config) map[key]bool {
		out := map[key]bool{}
		for _, n := range c.Nodes {
			out[key{"Node", n.Meta.Name}] = true
		}
		for _, s := range c.Subnets {
			out[key{"Subnet", s.Meta.Name}] = true
		}
		for _, p := range c.Pods {
			out[key{"Pod", p.Meta.Name}] = true
		}
		for _, s := range c.Services {
			out[key{"Service", s.Meta.Name}] = true
		}
		for _, s := range c.Slices {
			// An Endpoints document is a slice per subset, NAME:SUBSET.
			name, _, _ := strings.Cut(s.Meta.Name.Name, ":")
			out[key{"EndpointSlice", schema.Name{Namespace: s.Namespace, Name: name}}] = true
		}
		return out
	}
	old, now := names(before), names(after)
	for k := range old {
		if !now[k] {
			gone++
		}
	}
	return gone, len(old)
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
