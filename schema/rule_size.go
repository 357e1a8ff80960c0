package schema

// GreatestEnvironment is how many services a namespace can have before the
// environment variables of all of them are too many: Linux starts no program
// whose arguments and environment take more than a quarter of the stack's
// limit, 2 MiB by default (execve(2)), and other variables need room, too.
const GreatestEnvironment = 2000

// environmentRule warns of namespaces whose variables do not fit.
func (t *tree) environmentRule() {
	for namespace, n := range t.parser.index.memo.addressed {
		if n > GreatestEnvironment {
			t.environmentTooLarge(namespace)
		}
	}
}

// environmentTooLarge puts the warning at the service that is one too many.
func (t *tree) environmentTooLarge(namespace string) {
	n := 0
	for _, u := range t.services {
		if u.meta.Namespace != namespace || len(u.settled.service.service.ClusterIPs) == 0 {
			continue
		}
		if n++; n > GreatestEnvironment {
			t.warn(u, "/metadata/name", "namespace %s has more than %d services: programs may fail to start with the environment variables of all of them", namespace, GreatestEnvironment)
			return
		}
	}
}
