//go:build linux

package bench

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/netip"
)

// writeKubeProxy writes services as kube-proxy lays them out in its nftables
// mode, as a script for nft -f: a chain for each service with an anonymous
// map of its endpoints, and a chain for each endpoint. What it looks like is
// described by the comments and tests of kubernetes/kubernetes,
// pkg/proxy/nftables (proxier.go, proxier_test.go, README.md; v1.33);
// testdata/kube-proxy.nft is what this makes of three services.
//
// What services of type ClusterIP do not use (node ports, firewalls, session
// affinity) is left out, which is to the layout's advantage.
func writeKubeProxy(w io.Writer, size Size) error {
	p := &printer{w: w}
	p.line("add table ip kube-proxy")
	p.line("add set ip kube-proxy cluster-ips { type ipv4_addr ; }")
	p.line("add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }")
	p.line("add map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }")
	p.line("add chain ip kube-proxy mark-for-masquerade")
	p.line("add rule ip kube-proxy mark-for-masquerade meta mark set mark or 0x4000")
	p.line("add chain ip kube-proxy services")
	p.line("add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips")
	p.line("add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat ; }")
	p.line("add rule ip kube-proxy nat-prerouting jump services")
	p.line("add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }")
	p.line("add rule ip kube-proxy nat-output jump services")
	p.line("add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority srcnat ; }")
	p.line("add rule ip kube-proxy nat-postrouting meta mark and 0x4000 != 0 masquerade fully-random")
	for i := range size.Services {
		kubeProxyService(p, i, size.Endpoints)
	}
	return p.err
}

func kubeProxyService(p *printer, service, endpoints int) {
	ip := clusterIP(service)
	name := kubeProxyName("service-", fmt.Sprintf("default/s%05d/tcp/http", service))
	p.line("add chain ip kube-proxy %s", name)
	p.line("add rule ip kube-proxy %s ip daddr %s tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade", name, ip)
	choices := ""
	for e := range endpoints {
		to := endpointAddress(service, e, 0)
		chain := kubeProxyEndpoint(service, to)
		writeKubeProxyEndpoint(p, chain, to)
		if e > 0 {
			choices += " , "
		}
		choices += fmt.Sprintf("%d : goto %s", e, chain)
	}
	p.line("add rule ip kube-proxy %s numgen random mod %d vmap { %s }", name, endpoints, choices)
	p.line("add element ip kube-proxy cluster-ips { %s }", ip)
	p.line("add element ip kube-proxy service-ips { %s . tcp . 80 : goto %s }", ip, name)
}

// kubeProxyReplace replaces a service's first endpoint: the service's chain is
// written anew, as kube-proxy does it, and so is one endpoint's.
func kubeProxyReplace(p *printer, service, endpoints int) {
	name := kubeProxyName("service-", fmt.Sprintf("default/s%05d/tcp/http", service))
	choices := ""
	for e := range endpoints {
		variant := 0
		if e == 0 {
			variant = 1
		}
		to := endpointAddress(service, e, variant)
		chain := kubeProxyEndpoint(service, to)
		if e == 0 {
			writeKubeProxyEndpoint(p, chain, to)
		} else {
			choices += " , "
		}
		choices += fmt.Sprintf("%d : goto %s", e, chain)
	}
	p.line("flush chain ip kube-proxy %s", name)
	p.line("add rule ip kube-proxy %s ip daddr %s tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade", name, clusterIP(service))
	p.line("add rule ip kube-proxy %s numgen random mod %d vmap { %s }", name, endpoints, choices)
	p.line("delete chain ip kube-proxy %s", kubeProxyEndpoint(service, endpointAddress(service, 0, 0)))
}

func kubeProxyEndpoint(service int, to netip.Addr) string {
	return kubeProxyName("endpoint-", fmt.Sprintf("default/s%05d/tcp/http__%s/%d", service, to, serverPort))
}

func writeKubeProxyEndpoint(p *printer, chain string, to netip.Addr) {
	p.line("add chain ip kube-proxy %s", chain)
	p.line("add rule ip kube-proxy %s ip saddr %s jump mark-for-masquerade", chain, to)
	p.line("add rule ip kube-proxy %s meta l4proto tcp dnat to %s:%d", chain, to, serverPort)
}

// kubeProxyName has a hash in front of what people read.
func kubeProxyName(prefix, what string) string {
	h := fnv.New32a()
	_, _ = io.WriteString(h, what) // never fails
	return fmt.Sprintf("%s%08X-%s", prefix, h.Sum32(), what)
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(form string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, form+"\n", args...)
	}
}
