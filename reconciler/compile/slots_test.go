package compile

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler/view"
)

// manyEndpoints are the documents of a node port whose endpoints have more
// weight together than a list has slots; the last one is on this node.
func manyEndpoints(n int) map[string]string {
	var b strings.Builder
	b.WriteString(`apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.20, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [198.51.100.1], nodeName: node-1}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, labels: {kubernetes.io/service-name: web}, annotations: {poplin/weight: "100"}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
`)
	for i := range n {
		fmt.Fprintf(&b, "- {addresses: [198.18.%d.%d]}\n", i>>8, i&255)
	}
	return map[string]string{"web.yaml": b.String(), "cluster.yaml": `apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: c}
spec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]}
`}
}

// The slots of all endpoints and of this node's are in one map of the kernel,
// which takes no key twice.
func TestSlotsOfManyEndpointsAreApart(t *testing.T) {
	in := Input{Config: parseDocuments(t, manyEndpoints(700)), Host: parseHost(t, defaultHost), Revision: "r1"}
	in.View.Self = view.Self{Name: in.Host.Node, Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}}
	if err := New().Compile(in).State.Check(); err != nil {
		t.Error(err)
	}
}
