package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/schema"
)

// bigTree is a Cluster and that many services, one file each, with ten
// endpoints: pods in the same file, or a slice.
func bigTree(services int, pods bool) []schema.File {
	files := []schema.File{{Path: "cluster.yaml", Content: []byte(`apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: big}
spec: {podCIDRs: [10.128.0.0/9], serviceCIDRs: [10.0.0.0/12], subnetLength: {ipv4: 16}}
`)}}
	for i := range services {
		files = append(files, schema.File{Path: fmt.Sprintf("services/%05d.yaml", i), Content: bigFile(i, pods, 8080)})
	}
	return files
}

func bigFile(i int, pods bool, port int) []byte {
	var b strings.Builder
	selector := ""
	if pods {
		selector = fmt.Sprintf("\n  selector:\n    app: app-%d", i)
	}
	fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata:
  name: service-%d
  labels:
    app: app-%d
spec:
  clusterIP: 10.%d.%d.%d%s
  ports:
  - name: http
    port: 80
    targetPort: %d
`, i, i, 1+i/65536, i/256%256, i%256, selector, port)
	if !pods {
		fmt.Fprintf(&b, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-%d-1
  labels:
    kubernetes.io/service-name: service-%d
addressType: IPv4
ports:
- name: http
  port: %d
endpoints:
`, i, i, port)
	}
	for j := range 10 {
		if !pods {
			fmt.Fprintf(&b, "- addresses:\n  - 172.16.%d.%d\n  conditions:\n    ready: true\n  nodeName: node-%d\n", i%256, j, j)
			continue
		}
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata:
  name: app-%d-%d
  labels:
    app: app-%d
    version: v1
spec:
  nodeName: node-%d
  containers:
  - name: app
    ports:
    - name: http
      containerPort: %d
`, i, j, i, j, port)
	}
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	for _, services := range []int{1000, 10000} {
		for _, pods := range []bool{true, false} {
			kind := "slices"
			if pods {
				kind = "pods"
			}
			files := bigTree(services, pods)
			b.Run(fmt.Sprintf("full/%d/%s", services, kind), func(b *testing.B) {
				for b.Loop() {
					mustParse(b, newParser(b), files)
				}
			})
			b.Run(fmt.Sprintf("one-changed/%d/%s", services, kind), func(b *testing.B) {
				p := newParser(b)
				mustParse(b, p, files)
				port := 8081
				for b.Loop() {
					port++
					files[7].Content = bigFile(6, pods, 8000+port%1000)
					mustParse(b, p, files)
				}
			})
		}
	}
}

func mustParse(t testing.TB, p *schema.Parser, files []schema.File) *schema.Config {
	t.Helper()
	config, diagnostics := p.Parse(files)
	if config == nil {
		t.Fatal(diagnostics[0], " and ", len(diagnostics)-1, " more")
	}
	return config
}
