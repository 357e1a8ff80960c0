package schema

import "strings"

// maxNamespaceFile is the longest name that a file can have (NAME_MAX). The
// pod's network namespace is a file named NAMESPACE_NAME.
const maxNamespaceFile = 255

// pod converts a Pod.
func (c *conversion) pod(d *podDocument) *Pod {
	s := &d.Spec
	out := &Pod{
		Meta:        c.meta,
		NodeName:    s.NodeName,
		HostNetwork: s.HostNetwork,
		Hostname:    s.Hostname,
		Subdomain:   s.Subdomain,
		DNSPolicy:   DNSPolicy(orDefault(s.DNSPolicy, string(DNSClusterFirst))),
		Subnet:      c.meta.Annotations["poplin/subnet"],
		Weight:      c.weight(),
	}
	if text := c.meta.Annotations["poplin/ip"]; text != "" {
		out.StaticIPs, _ = parseIPList(text)
	}
	c.containers(s.Containers, out)
	c.sysctls(s.SecurityContext.Sysctls, out)
	c.podDNS(s.DNSConfig, out)
	if length := len(out.Namespace) + 1 + len(out.Name.Name); length > maxNamespaceFile {
		c.refuse("/metadata/name", "namespace and name together have %d characters; the name of the pod's network namespace has room for %d", length-1, maxNamespaceFile-1)
	}
	if !out.HostNetwork {
		return out
	}
	for _, name := range []string{"poplin/ip", "poplin/subnet"} {
		if c.meta.Annotations[name] != "" {
			c.refuse(pointer("/metadata/annotations").field(name), "a pod with hostNetwork has the node's address")
		}
	}
	if len(out.Sysctls) > 0 {
		c.refuse("/spec/securityContext/sysctls", "with hostNetwork these would be the node's own settings")
	}
	return out
}

// weight reads the annotation poplin/weight.
func (c *conversion) weight() int { return orDefault(atoi(c.meta.Annotations["poplin/weight"]), 1) }

func (c *conversion) containers(containers []containerSpec, out *Pod) {
	type protocolPort struct {
		protocol Protocol
		port     uint16
	}
	names, ports := map[string]bool{}, map[protocolPort]bool{}
	for i, container := range containers {
		for j, p := range container.Ports {
			at := pointer("/spec/containers").item(i).field("ports").item(j)
			port := ContainerPort{p.Name, uint16(p.ContainerPort), protocolOf(p.Protocol)}
			if port.Name != "" && names[port.Name] {
				c.refuse(at.field("name"), "two ports are named %q", port.Name)
			}
			key := protocolPort{port.Protocol, port.Port}
			if ports[key] {
				c.warn(at.field("containerPort"), "port %d/%s is declared twice", port.Port, port.Protocol)
			}
			names[port.Name], ports[key] = true, true
			out.Ports = append(out.Ports, port)
		}
		if probe, ok := c.probe(pointer("/spec/containers").item(i), container); ok {
			out.Probes = append(out.Probes, probe)
		}
	}
}

func (c *conversion) sysctls(list []sysctlSpec, out *Pod) {
	for i, s := range list {
		if out.Sysctls == nil {
			out.Sysctls = make(map[string]string, len(list))
		}
		path := sysctlPath(s.Name)
		if _, twice := out.Sysctls[path]; twice {
			c.refuse(pointer("/spec/securityContext/sysctls").item(i).field("name"), "%s is set twice", s.Name)
		}
		out.Sysctls[path] = s.Value
	}
}

// maxSearches is how many characters the search list of a pod may have
// (Kubernetes' MaxDNSSearchListChars).
const maxSearches = 2048

// podDNS reads dnsConfig, with the limits that Kubernetes has.
func (c *conversion) podDNS(d dnsConfigSpec, out *Pod) {
	out.DNSConfig = DNSConfig{Nameservers: addresses(d.Nameservers), Searches: d.Searches}
	for _, o := range d.Options {
		out.DNSConfig.Options = append(out.DNSConfig.Options, DNSOption(o))
	}
	if out.DNSPolicy == DNSNone && len(d.Nameservers) == 0 {
		c.refuse("/spec/dnsPolicy", "the policy None needs a nameserver in dnsConfig")
	}
	if n := len(strings.Join(d.Searches, " ")); n > maxSearches {
		c.refuse("/spec/dnsConfig/searches", "the search list has %d characters; C libraries have room for %d", n, maxSearches)
	}
}

// sysctlPath turns the name of a setting into its path below /proc/sys. As
// sysctl(8) has it, the first separator says which of . and / separates; the
// other one is part of a name and stands for the first (eth0/100 is the link
// eth0.100).
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '/' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}

// PodsOn lists the pods that are on a node, sorted by namespace and name.
func (c *Config) PodsOn(node string) []*Pod {
	if c.podsOn != nil {
		return c.podsOn[node]
	}
	var out []*Pod
	for _, p := range c.Pods {
		if p.NodeName == node {
			out = append(out, p)
		}
	}
	return out
}
