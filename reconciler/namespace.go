package reconciler

// Namespace is the network namespace of a pod, bound at /run/netns/Name.
// Loopback inside it is up: that belongs to the namespace.
type Namespace struct {
	Name string // NS_POD, see NamespaceName
	// Damage says what is wrong with it: loopback is down. It is empty in
	// every desired state; the damage is mended in place.
	Damage string
}

// NamespaceKey identifies a Namespace.
type NamespaceKey struct{ Name string }

// NamespaceName gives the file name below /run/netns of a pod's namespace.
// Neither part may contain an underscore (both are DNS labels or names), so
// the mapping is one to one.
func NamespaceName(namespace, pod string) string { return namespace + "_" + pod }

func (n Namespace) Kind() Kind   { return KindNamespace }
func (n Namespace) Key() Key     { return NamespaceKey{n.Name} }
func (n Namespace) Needs() []Key { return nil }

func (n Namespace) String() string {
	if n.Damage != "" {
		return "netns " + n.Name + " damaged: " + n.Damage
	}
	return "netns " + n.Name
}
