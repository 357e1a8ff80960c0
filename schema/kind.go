package schema

import "strings"

// documentKind is a kind of document that poplin reads.
type documentKind struct {
	apiVersion string
	name       string
	namespaced bool
}

// documentKinds are all of them but List, which is only a wrapping.
var documentKinds = []documentKind{
	{"poplin/v1alpha1", "Cluster", false},
	{"poplin/v1alpha1", "Subnet", false},
	{"poplin/v1alpha1", "Node", false},
	{"v1", "Service", true},
	{"v1", "Endpoints", true},
	{"discovery.k8s.io/v1", "EndpointSlice", true},
	{"v1", "Pod", true},
	{"v1", "List", false},
}

// kindOf finds a kind by apiVersion and name.
func kindOf(apiVersion, name string) (documentKind, bool) {
	for _, k := range documentKinds {
		if k.apiVersion == apiVersion && k.name == name {
			return k, true
		}
	}
	return documentKind{}, false
}

// groupOf is the group of an apiVersion: "" for v1.
func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// foreignKind is a document that is of none of our kinds.
type foreignKind struct {
	apiVersion, kind string
	diagnostic       Diagnostic // in case that it is not ignored
}

// String names the kind as ignoreKinds does.
func (f foreignKind) String() string {
	if group := groupOf(f.apiVersion); group != "" {
		return f.kind + "." + group
	}
	return f.kind
}

// ignoredBy reports whether one of the patterns names the kind. A pattern
// without a group stands for the kind in any group.
func (f foreignKind) ignoredBy(patterns []string) bool {
	for _, p := range patterns {
		if p == "*" || p == f.kind || p == f.String() {
			return true
		}
	}
	return false
}

// alwaysIgnored are the kinds that are skipped in every tree.
var alwaysIgnored = []string{"Namespace", "Kustomization.kustomize.config.k8s.io"}

// explainKind says what is wrong with a kind that is not ours.
func explainKind(apiVersion, kind string) string {
	names := make([]string, 0, len(documentKinds))
	for _, k := range documentKinds {
		if k.name == kind {
			return kind + " must have apiVersion " + k.apiVersion + ", but has " + apiVersion
		}
		names = append(names, k.name)
	}
	text := "kind " + kind + " (" + apiVersion + ") is not read by poplin"
	if near := nearest(kind, names); near != "" {
		return text + "; did you mean \"" + near + "\"?"
	}
	f := foreignKind{apiVersion: apiVersion, kind: kind}
	return text + "; keep it out of the tree, or add " + f.String() + " to the Cluster's ignoreKinds"
}
