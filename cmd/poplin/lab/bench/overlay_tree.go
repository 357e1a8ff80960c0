//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Pods a and b, on a node each.
const (
	overlayNear = "10.244.1.10"
	overlayFar  = "10.244.2.10"

	underlayMTU = 1500 // bytes, of the lab's bridge
	vxlanMTU    = underlayMTU - 50
)

var (
	overlayNodes = [2]string{"node-1", "node-2"}
	overlayPods  = [2]string{"default/a", "default/b"}
)

// backendOf is the backend of a path; those made by hand begin as plain
// routes.
func backendOf(path string) string {
	if path == PlainRoutes || path == KernelVXLAN {
		return "host-gw"
	}
	return path
}

// writeOverlayTree writes the documents of a path.
func writeOverlayTree(dir, backend string) error {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: bench}
spec:
  podCIDRs: [10.244.0.0/16]
  serviceCIDRs: [10.96.0.0/16]
  overlay: {backend: %s}
`, backend)
	for i, address := range []string{overlayNear, overlayFar} {
		fmt.Fprintf(&b, `---
apiVersion: poplin/v1alpha1
kind: Node
metadata: {name: %[1]s}
spec: {addresses: [192.0.2.%[2]d]}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: %[1]s}
spec: {cidrs: [10.244.%[2]d.0/24], node: %[1]s}
---
apiVersion: v1
kind: Pod
metadata:
  name: %[3]s
  annotations: {poplin/ip: %[4]s}
spec: {nodeName: %[1]s}
`, overlayNodes[i], i+1, strings.TrimPrefix(overlayPods[i], "default/"), address)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(b.String()), 0o644)
}

// byHand are the commands that make a path on a node whose daemon was
// stopped: what an administrator would type. Those that begin with pod are
// for the pod.
func byHand(path string, node int) []string {
	other := 3 - node
	route := fmt.Sprintf("10.244.%d.0/24", other)
	if path == PlainRoutes {
		return []string{
			"ip route del " + route,
			fmt.Sprintf("ip route add %s via 192.0.2.%d", route, other),
		}
	}
	return []string{
		fmt.Sprintf("ip link add vxlan1 type vxlan id 1 dstport 8472 local 192.0.2.%d dev eth0 nolearning", node),
		fmt.Sprintf("ip link set vxlan1 address 02:00:00:00:00:%02x mtu %d up", node, vxlanMTU),
		fmt.Sprintf("ip address add 10.244.%d.0/32 dev vxlan1", node),
		fmt.Sprintf("ip neigh add 10.244.%d.0 lladdr 02:00:00:00:00:%02x dev vxlan1 nud permanent", other, other),
		fmt.Sprintf("bridge fdb add 02:00:00:00:00:%02x dev vxlan1 dst 192.0.2.%d self permanent", other, other),
		"ip route del " + route,
		fmt.Sprintf("ip route add %s via 10.244.%d.0 dev vxlan1 onlink", route, other),
		fmt.Sprintf("pod ip link set eth0 mtu %d", vxlanMTU),
	}
}
