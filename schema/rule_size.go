package schema

// GreatestEnvironment is how many services a namespace can have before the
// environment variables of all of them are too many: Linux starts no program
// whose arguments and environment take more than a quarter of the stack's
// limit, 2 MiB by default (execve(2)), and other variables need room, too.
const GreatestEnvironment = 2000

// environmentRule warns of namespaces whose variables do not fit.
func (t *tree) environmentRule() {
	count := map[string]int{}
	for _, u := range t.services {
		service := u.settled.service.service
		if len(service.ClusterIPs) == 0 {
			continue
		}
		if count[service.Namespace]++; count[service.Namespace] == GreatestEnvironment+1 {
			t.warn(u, "/metadata/name", "namespace %s has more than %d services: programs may fail to start with the environment variables of all of them", service.Namespace, GreatestEnvironment)
		}
	}
}
