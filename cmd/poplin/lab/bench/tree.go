//go:build linux

package bench

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The server that the measured services lead to: the lab's client.
const (
	serverAddress = "192.0.2.254"
	serverPort    = 8080
)

// tree is a directory of documents that is edited as whatever syncs one does
// it: each file is replaced whole.
type tree struct {
	dir   string
	nodes []Size // one node each
}

// start writes the Cluster and the nodes, without any service.
func (t tree) start() error {
	var b strings.Builder
	b.WriteString(`apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: bench}
spec:
  podCIDRs: [10.244.0.0/16]
  serviceCIDRs: [10.96.0.0/16]
  overlay: {backend: host-gw}
  removalLimit: 100%
  dns: {upstreams: [` + serverAddress + `]}
`)
	for i, s := range t.nodes {
		fmt.Fprintf(&b, `---
apiVersion: poplin/v1alpha1
kind: Node
metadata: {name: %s}
spec: {addresses: [192.0.2.%d]}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: %s}
spec: {cidrs: [10.244.%d.0/24], node: %s}
`, s.name(), i+1, s.name(), i+1, s.name())
	}
	if err := os.MkdirAll(filepath.Join(t.dir, "services"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(t.dir, "cluster.yaml"), []byte(b.String()), 0o644)
}

// fill writes services. Those through which connections are measured have
// the server as their only endpoint.
func (t tree) fill(size Size) error {
	for i := range size.Services {
		text := document(i, size.Endpoints, 0)
		if slices.Contains(size.measured(), i) {
			text = documentWith(i, netip.MustParseAddr(serverAddress))
		}
		if err := t.put(i, text); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a service's file.
func (t tree) remove(service int) error { return os.Remove(t.path(service)) }

func (t tree) path(service int) string {
	return filepath.Join(t.dir, "services", fmt.Sprintf("s%05d.yaml", service))
}

// put replaces a service's file.
func (t tree) put(service int, text string) error {
	temp := filepath.Join(t.dir, "services", ".next")
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, t.path(service))
}

// clusterIP is the address of a service.
func clusterIP(service int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 96, byte(1 + service/250), byte(1 + service%250)})
}

// namespaceOf gives each 250 services a namespace of their own: a process that
// is told of thousands in its environment does not start.
func namespaceOf(service int) string { return fmt.Sprintf("n%03d", service/250) }

// endpointAddress is that of an endpoint that nobody ever connects to; a
// variant has others than the rest.
func endpointAddress(service, endpoint, variant int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(172 + variant%2), byte(16 + endpoint%16), byte(service / 250), byte(1 + service%250)})
}

// measured are the services through which connections are measured: the
// first, the middle and the last.
func (s Size) measured() []int { return []int{0, s.Services / 2, s.Services - 1} }

// document is a service with a slice of endpoints that nobody connects to.
func document(service, endpoints, variant int) string {
	addresses := make([]netip.Addr, endpoints)
	for e := range addresses {
		addresses[e] = endpointAddress(service, e, 0)
	}
	addresses[0] = endpointAddress(service, 0, variant)
	return documentWith(service, addresses...)
}

func documentWith(service int, endpoints ...netip.Addr) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {name: s%05d, namespace: %s}
spec: {clusterIP: %s, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s%05d, namespace: %s, labels: {kubernetes.io/service-name: s%05d}}
addressType: IPv4
ports: [{name: http, port: %d, protocol: TCP}]
endpoints:
`, service, namespaceOf(service), clusterIP(service), service, namespaceOf(service), service, serverPort)
	for _, a := range endpoints {
		fmt.Fprintf(&b, "- addresses: [%s]\n", a)
	}
	return b.String()
}
