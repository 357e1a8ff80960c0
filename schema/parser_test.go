package schema_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/poplin-net/poplin/schema"
)

func one(text string) []schema.File {
	return []schema.File{{Path: "cluster.yaml", Content: []byte(base)}, {Path: "a.yaml", Content: []byte(text)}}
}

// compareNetip lets cmp look at addresses.
var compareNetip = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func same(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, compareNetip); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClusterDefaults(t *testing.T) {
	c := mustParse(t, newParser(t), one("")).Cluster
	want := &schema.Cluster{
		PodCIDRs:        []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		ServiceCIDRs:    []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		SubnetRetention: 72 * time.Hour,
		NodePortRange:   schema.PortRange{First: 30000, Last: 32767},
	}
	want.Name = schema.Name{Name: "test"}
	want.Place = schema.Place{File: "cluster.yaml", Line: 1, Column: 1}
	want.SubnetLength.IPv4, want.SubnetLength.IPv6 = 24, 64
	want.Overlay = schema.Overlay{Backend: schema.BackendUDP, Port: 8285, UnderlayFamily: "auto", ChecksumOffload: "auto"}
	want.Masquerade.Enabled = true
	want.DNS.Enabled, want.DNS.Domain, want.DNS.NDots = true, "cluster.local", 3
	want.DNS.Addresses = []netip.Addr{netip.MustParseAddr("10.96.0.10")}
	want.NodePortAddresses.Primary = true
	want.Gossip.Port, want.Gossip.Profile, want.Gossip.Encrypted = 8286, "lan", true
	want.RemovalLimit.Percent = 50
	same(t, want, c)
}

func TestDocuments(t *testing.T) {
	c := mustParse(t, newParser(t), one(`apiVersion: poplin/v1alpha1
kind: Node
metadata: {name: node-1, labels: {topology.kubernetes.io/zone: a}}
spec: {addresses: [192.0.2.1, "2001:db8::1"], mtu: 9000}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: one}
spec: {cidrs: [10.244.1.0/24], node: node-1, reserved: [10.244.1.128/25, 10.244.1.5, 10.244.1.7-10.244.1.9]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}, annotations: {poplin/ip: 10.244.1.20}}
spec:
  nodeName: node-1
  hostname: one
  subdomain: web
  securityContext: {sysctls: [{name: net.core.somaxconn, value: "1024"}, {name: net/ipv4/conf/eth0.1/rp_filter, value: "0"}, {name: net.ipv4.conf.eth0/1.log_martians, value: "1"}]}
  containers:
  - {name: a, ports: [{name: http, containerPort: 8080}]}
  - {name: b, ports: [{name: dns, containerPort: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.20
  selector: {app: web}
  publishNotReadyAddresses: true
  ports:
  - {name: http, port: 80, targetPort: http, nodePort: 30080}
  - {name: https, port: 443, nodePort: 30443}
---
apiVersion: v1
kind: Service
metadata: {name: printer}
spec: {clusterIP: None, ports: [{port: 9100}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: printer}
subsets: [{addresses: [{ip: 192.0.2.80, nodeName: node-1}], notReadyAddresses: [{ip: 192.0.2.81, hostname: b}], ports: [{port: 9100}]}]
`))
	place := func(line, column int) schema.Place { return schema.Place{File: "a.yaml", Line: line, Column: column} }
	addr := netip.MustParseAddr
	node, subnet, pod, web, printer, slice := c.Nodes[0], c.Subnets[0], c.Pods[0], c.Services[1], c.Services[0], c.Slices[0]
	same(t, netip.MustParseAddrPort("192.0.2.1:8286"), node.Advertise)
	same(t, []netip.Addr{addr("10.244.1.1")}, subnet.Gateways)
	same(t, true, subnet.Masquerade)
	same(t, []schema.AddrRange{{First: addr("10.244.1.128"), Last: addr("10.244.1.255")}, {First: addr("10.244.1.5"), Last: addr("10.244.1.5")}, {First: addr("10.244.1.7"), Last: addr("10.244.1.9")}}, subnet.Reserved)
	same(t, &schema.Pod{
		Meta: schema.Meta{
			Name: schema.Name{Namespace: "shop", Name: "web-1"}, Labels: map[string]string{"app": "web"},
			Annotations: map[string]string{"poplin/ip": "10.244.1.20"}, Place: place(11, 1),
		},
		NodeName: "node-1", Hostname: "one", Subdomain: "web", DNSPolicy: schema.DNSClusterFirst, StaticIPs: []netip.Addr{addr("10.244.1.20")}, Weight: 1,
		Sysctls: map[string]string{"net/core/somaxconn": "1024", "net/ipv4/conf/eth0.1/rp_filter": "0", "net/ipv4/conf/eth0.1/log_martians": "1"},
		Ports:   []schema.ContainerPort{{Name: "http", Port: 8080, Protocol: schema.TCP}, {Name: "dns", Port: 53, Protocol: schema.UDP}},
	}, pod)
	same(t, &schema.Service{
		Meta: schema.Meta{Name: schema.Name{Namespace: "shop", Name: "web"}, Place: place(23, 1)},
		Type: schema.NodePort, ClusterIPs: []netip.Addr{addr("10.96.0.20")}, Families: []schema.Family{schema.IPv4},
		Selector: map[string]string{"app": "web"}, PublishNotReadyAddresses: true,
		Ports: []schema.ServicePort{
			{Name: "http", Protocol: schema.TCP, Port: 80, Target: schema.PortRef{Name: "http"}, NodePort: 30080, Place: place(32, 5)},
			{Name: "https", Protocol: schema.TCP, Port: 443, Target: schema.PortRef{Number: 443}, NodePort: 30443, Place: place(33, 5)},
		},
	}, web)
	same(t, true, printer.Headless && len(printer.ClusterIPs) == 0)
	same(t, &schema.EndpointSlice{
		Meta:    schema.Meta{Name: schema.Name{Namespace: "default", Name: "printer:0:IPv4"}, Place: place(40, 1)},
		Service: "printer", Family: schema.IPv4, Weight: 1, Ports: []schema.SlicePort{{Protocol: schema.TCP, Port: 9100}},
		Endpoints: []schema.SliceEndpoint{
			{Address: addr("192.0.2.80"), Ready: true, Serving: true, NodeName: "node-1", Place: place(43, 24)},
			{Address: addr("192.0.2.81"), Hostname: "b", Place: place(43, 81)},
		},
	}, slice)
	same(t, 0, c.Automatic)
}

// TestPointers: a document whose file did not change is the same pointer.
func TestPointers(t *testing.T) {
	files := bigTree(20, true)
	p := newParser(t)
	before := mustParse(t, p, files)
	files[3].Content = bigFile(2, true, 9999)
	after := mustParse(t, p, files)
	for i, s := range before.Services {
		changed := s.Place.File == files[3].Path
		if (s != after.Services[i]) != changed {
			t.Errorf("%s: same pointer: %v, file changed: %v", s.Name, s == after.Services[i], changed)
		}
	}
	for i, pod := range before.Pods {
		if (pod != after.Pods[i]) != (pod.Place.File == files[3].Path) {
			t.Errorf("%s: wrong pointer", pod.Name)
		}
	}
	// Another service range concerns services without an address only, but
	// the others are checked against it.
	files[0].Content = append(slices.Clone(files[0].Content), "# comment\n"...)
	again := mustParse(t, p, files)
	if again.Services[0] != after.Services[0] {
		t.Error("a comment in the Cluster's file made services anew")
	}
}

// TestHistory: what Parse says does not depend on what it parsed before.
func TestHistory(t *testing.T) {
	texts := pool()
	names := slices.Sorted(maps.Keys(texts))
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		p := newParser(t)
		// So many more that a change is a small part of the tree.
		tree := map[string]string{"cluster.yaml": "cluster", "many.yaml": "many"}
		texts["many"] = manyPods(int(seed) * 12)
		for step := range 10 {
			for range 1 + random.IntN(3) {
				path := fmt.Sprintf("%02d.yaml", random.IntN(12))
				if random.IntN(4) == 0 {
					delete(tree, path)
				} else {
					tree[path] = names[random.IntN(len(names))]
				}
			}
			var files []schema.File
			for path, name := range tree {
				files = append(files, schema.File{Path: path, Content: []byte(texts[name])})
			}
			random.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
			got, gotDiagnostics := p.Parse(files)
			want, wantDiagnostics := newParser(t).Parse(files)
			if diff := cmp.Diff(wantDiagnostics, gotDiagnostics); diff != "" {
				t.Fatalf("seed %d, step %d: diagnostics (-fresh +cached):\n%s", seed, step, diff)
			}
			if diff := cmp.Diff(want, got, compareNetip, cmp.AllowUnexported(schema.Config{})); diff != "" {
				t.Fatalf("seed %d, step %d: config (-fresh +cached):\n%s", seed, step, diff)
			}
		}
	}
}

func manyPods(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: many-%d, labels: {app: a-%d}}\nspec: {nodeName: node-%d, hostNetwork: true}\n", i, i%5, 1+i%2)
	}
	return b.String()
}

// pool is texts that conflict, need and match each other.
func pool() map[string]string {
	texts := map[string]string{
		"cluster": base,
		"broken":  "a: [",
		"ignored": "apiVersion: v1\nkind: Namespace\n",
		"node":    "apiVersion: poplin/v1alpha1\nkind: Node\nmetadata: {name: node-1}\nspec: {addresses: [192.0.2.1]}\n",
		"subnet":  "apiVersion: poplin/v1alpha1\nkind: Subnet\nmetadata: {name: one}\nspec: {cidrs: [10.244.1.0/29], node: node-1}\n",
		"free":    "apiVersion: poplin/v1alpha1\nkind: Subnet\nmetadata: {name: free}\nspec: {cidrs: [10.244.2.0/24]}\n",
		"slice":   "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, labels: {kubernetes.io/service-name: svc-0}}\naddressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [192.0.2.9]}]\n",
		"old":     "apiVersion: v1\nkind: Endpoints\nmetadata: {name: svc-0}\nsubsets: [{addresses: [{ip: 192.0.2.8}], ports: [{port: 80}]}]\n",
		"static":  "apiVersion: v1\nkind: Pod\nmetadata: {name: static, annotations: {poplin/ip: 10.244.1.3}}\nspec: {nodeName: node-1}\n",
		"host":    "apiVersion: v1\nkind: Pod\nmetadata: {name: host, labels: {app: a-0}}\nspec: {nodeName: node-1, hostNetwork: true, containers: [{ports: [{name: http, containerPort: 80}]}]}\n",
	}
	for i := range 4 {
		texts[fmt.Sprintf("svc-%d", i)] = fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: svc-%d}\nspec: {type: NodePort, ports: [{port: 80}]}\n", i)
		texts[fmt.Sprintf("sel-%d", i)] = fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: sel-%d}\nspec: {selector: {app: a-%d}, ports: [{port: 80, targetPort: http}]}\n", i, i%2)
		texts[fmt.Sprintf("pods-%d", i)] = fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: p-%d, labels: {app: a-%d, common: x}}\nspec: {nodeName: node-%d}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: q-%d, labels: {app: a-0}}\nspec: {nodeName: node-1, containers: [{ports: [{name: http, containerPort: 80}]}]}\n", i, i, 1+i%2, i)
	}
	return texts
}
