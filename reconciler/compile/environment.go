package compile

import (
	"slices"
	"sort"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/schema"
)

// environments are the files with the environment variables of each
// namespace. It is replaced as a whole: a fork shares the maps.
type environments struct {
	cluster  *schema.Cluster
	runDir   string
	services []*schema.Service
	files    map[string]environment // by namespace
}

type environment struct {
	services []*schema.Service
	group    *reconciler.Group
}

// compile makes one group per namespace with services, and returns those that
// go and those that come. Namespaces with the same services as before keep
// theirs.
func (e *environments) compile(b *builder) (gone, added []*reconciler.Group) {
	next := environments{cluster: b.cluster, runDir: b.Host.RunDir, services: b.Config.Services}
	if e.cluster == next.cluster && e.runDir == next.runDir && sameSlice(e.services, next.services) {
		return nil, nil
	}
	// The mark and the origin come from the Cluster.
	same := e.cluster != nil && e.runDir == next.runDir && e.cluster.Meta.Name == b.cluster.Meta.Name && e.cluster.Place == b.cluster.Place
	next.files = map[string]environment{}
	for rest := next.services; len(rest) > 0 && next.runDir != ""; {
		namespace := rest[0].Namespace
		// They are in the order of their namespaces. A look at each would cost
		// more than all else of a small change.
		n := sort.Search(len(rest), func(i int) bool { return rest[i].Namespace != namespace })
		own := rest[:n]
		rest = rest[n:]
		before, known := e.files[namespace]
		if known && same && slices.EqualFunc(before.services, own, discovery.SameVariables) {
			next.files[namespace] = environment{own, before.group}
			continue
		}
		if g := b.environment(namespace, own); g != nil {
			next.files[namespace] = environment{own, g}
			added = append(added, g)
		}
	}
	for namespace, before := range e.files {
		if next.files[namespace].group != before.group {
			gone = append(gone, before.group)
		}
	}
	*e = next
	return gone, added
}

// environment asks for the file of a namespace, nil if none of its services
// has a cluster IP.
func (b *builder) environment(namespace string, list []*schema.Service) *reconciler.Group {
	variables := discovery.Environment(list)
	if len(variables) == 0 {
		return nil
	}
	return &reconciler.Group{Name: "environment " + namespace, Origin: b.origin(b.cluster.Place), Objects: []reconciler.Object{
		b.file("env/"+namespace+".env", discovery.Dotenv(variables)),
	}}
}
