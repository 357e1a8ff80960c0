package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// node2s are the addresses of the node that has no tables.
var node2s = [2]string{"192.0.2.2", "2001:db8::2"}

// agreementCluster has pods a and b on this node, c on the other one, and one
// in the network of each.
const agreementCluster = `apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: c}
spec:
  podCIDRs: [10.244.0.0/16, "fd24::/48"]
  serviceCIDRs: [10.96.0.0/16, "fd96::/112"]
  loadBalancerCIDRs: [198.51.100.0/25, "2001:db8:1::/64"]
  externalIPCIDRs: [198.51.100.128/25, "2001:db8:1:1::/64"]
  overlay: {backend: udp, directRouting: true}
`

const agreementPod = `---
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {%s}}
spec: {nodeName: %s, hostNetwork: %v}
`

const agreementService = `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s%[5]s}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  clusterIPs: [10.96.1.%[2]d, "fd96::%[2]x"]
  externalIPs: [198.51.100.%[3]d, "2001:db8:1:1::%[2]x"]
  selector: {%[4]s: "yes"}
  ports: [{name: t, port: 80, targetPort: 8080, nodePort: %[6]d}, {name: u, port: 80, protocol: UDP, targetPort: 8080, nodePort: %[6]d}]
%[7]sstatus: {loadBalancer: {ingress: [{ip: 198.51.100.%[2]d}, {ip: "2001:db8:1::%[2]x"}]}}
`

// placements are the sets of endpoints: a letter for each pod, h and o for
// those in the network of this node and of the other one.
var placements = []string{"a", "b", "c", "bc", "abc", "h", "o", "none"}

// policies are lines of a Service's spec; ranged ones have a range of ports,
// too.
var policies = []struct {
	name, spec string
	ranged     bool
	stays      bool // a client gets the same endpoint again
}{
	{name: "cluster", ranged: true},
	{name: "internal", spec: "  internalTrafficPolicy: Local\n", ranged: true},
	{name: "external", spec: "  externalTrafficPolicy: Local\n"},
	{name: "sources", spec: "  loadBalancerSourceRanges: [192.0.2.64/26, \"2001:db8::100/120\"]\n"},
	{name: "sources-external", spec: "  externalTrafficPolicy: Local\n  loadBalancerSourceRanges: [10.244.2.0/24, 192.0.2.64/26, \"fd24:0:0:2::/64\", \"2001:db8::100/120\"]\n"},
	{name: "affinity", spec: "  sessionAffinity: ClientIP\n", stays: true},
	{name: "affinity-external", spec: "  sessionAffinity: ClientIP\n  externalTrafficPolicy: Local\n", stays: true},
}

// hashed goes in the metadata.
const hashedMetadata = `, annotations: {poplin/load-balancing: consistent-hash}`

// agreementServices compiles the services and brings them into the kernel.
func (w *network) agreementServices(t *testing.T) []*schema.Service {
	t.Helper()
	w.server(w.podA, "a", podsA)
	w.server(w.podB, "b", podsB)
	w.server(w.podC, "c", podsC)
	w.server(w.node, "node", nodes)
	w.server(w.node2, "node2", node2s)
	w.server(w.client, "client", client)
	w.node.run("ip route add 198.51.100.0/24 dev eth0; ip route add 2001:db8:1::/48 dev eth0")
	w.node2.run("ip route add default via 192.0.2.1; ip route add default via 2001:db8::1")

	text := agreementCluster
	self := view.Self{Name: "node-1", Subnets: prefixList("10.244.1.0/24", "fd24:0:0:1::/64")}
	peer := view.Peer{Name: "node-2", State: view.Alive, Underlay: addressList(node2s), Subnets: prefixList("10.244.2.0/24", "fd24:0:0:2::/64"), Health: true}
	for _, p := range []struct {
		name      string
		node      int
		addresses []netip.Addr
	}{{"a", 1, addressList(podsA)}, {"b", 1, addressList(podsB)}, {"c", 2, addressList(podsC)}, {"h", 1, nil}, {"o", 2, nil}} {
		var labels []string
		for _, place := range placements {
			if place != "none" && strings.Contains(place, p.name) {
				labels = append(labels, "at-"+place+`: "yes"`)
			}
		}
		text += fmt.Sprintf(agreementPod, p.name, strings.Join(labels, ", "), fmt.Sprint("node-", p.node), p.addresses == nil)
		pod := view.Pod{Namespace: "default", Name: p.name, Addresses: p.addresses, Ready: true}
		if p.node == 1 {
			self.Pods = append(self.Pods, pod)
		} else {
			peer.Pods = append(peer.Pods, pod)
		}
	}
	config := parseText(t, text+agreementServicesText())
	pods := map[schema.Name][]netip.Addr{}
	for _, p := range self.Pods[:2] {
		pods[schema.Name{Namespace: "default", Name: p.Name}] = p.Addresses
	}
	result := compile.New().Compile(compile.Input{
		Config: config, View: view.View{Self: self, Peers: []view.Peer{peer}},
		Host: compile.Host{Node: "node-1", Underlay: compile.Underlay{Link: "eth0", MTU: 1500, Addresses: addressList(nodes)}, PodAddresses: pods},
	})
	kinds := w.target.Kinds()
	reach(t, w.target, result.State.Only(func(o reconciler.Object) bool {
		return o.Kind() == kinds[0] || o.Kind() == kinds[1] || o.Kind() == kinds[2]
	}))
	return config.Services
}

// agreementServicesText has a service for each policy and placement.
func agreementServicesText() string {
	var text strings.Builder
	n := 20 // beyond the addresses of DNS
	add := func(policy, place, annotations, spec string) {
		n++
		if strings.Contains(spec, "externalTrafficPolicy: Local") {
			spec += fmt.Sprintf("  healthCheckNodePort: %d\n", 31000+n)
		}
		fmt.Fprintf(&text, agreementService, policy+"-"+place, n, 128+n, "at-"+place, annotations, 30000+n, spec)
	}
	for _, place := range placements {
		for _, p := range policies {
			annotations := ""
			if p.ranged {
				annotations = `, annotations: {poplin/port-range: "8000-8999/TCP,8000-8999/UDP"}`
			}
			add(p.name, place, annotations, p.spec)
		}
		add("hashed", place, hashedMetadata, "")
	}
	return text.String()
}

// agreementTable pairs every client with every frontend, and with some
// addresses that are none.
func (w *network) agreementTable(services []*schema.Service) []pairing {
	var out []pairing
	for _, from := range []party{
		{"pod", w.podA, podsA, false}, {"host", w.node, [2]string{}, true}, {"remote pod", w.podC, podsC, false},
		{"other node", w.node2, node2s, false}, {"outside", w.client, client, false},
	} {
		add := func(what string, to netip.Addr, port uint16, forgetful bool) {
			for _, protocol := range []string{"tcp", "udp"} {
				name := fmt.Sprintf("%s → %s %s:%d/%s", from.name, what, to, port, protocol)
				out = append(out, pairing{name, from, protocol, netip.AddrPortFrom(to, port), forgetful})
			}
		}
		for _, s := range services {
			name := s.Meta.Name.Name
			forgetful := !strings.HasPrefix(name, "affinity")
			for i := range families() {
				add("cluster IP of "+name, s.ClusterIPs[i], 80, forgetful)
				add("load balancer of "+name, s.LoadBalancerIPs[i], 80, forgetful)
				add("external IP of "+name, s.ExternalIPs[i], 80, forgetful)
				add("node port of "+name, address(nodes[i]), s.Ports[0].NodePort, forgetful)
				if len(s.PortRanges) > 0 {
					add("range of "+name, s.ClusterIPs[i], 8080, true)
					add("range at the load balancer of "+name, s.LoadBalancerIPs[i], 8080, true)
				}
			}
		}
		for i := range families() {
			add("no frontend", services[0].ClusterIPs[i], 81, true)
			add("no frontend", services[0].LoadBalancerIPs[i], 81, true)
			add("nobody's cluster IP", []netip.Addr{address("10.96.2.1"), address("fd96::2001")}[i], 80, true)
			for what, list := range map[string][2]string{"a": podsA, "b": podsB, "c": podsC, "the host": nodes, "the other node": node2s, "outside": client} {
				if what != "c" || from.in != w.node2 { // which would not come this way
					add(what+" itself", address(list[i]), 8080, true)
				}
			}
			add("no node port", address(nodes[i]), 30999, true)
			if !from.sent { // what a host sends to itself is not followed on lo
				add("tunnel", address(nodes[i]), 8285, true)
			}
		}
	}
	return append(out, w.forgedPairings(services[0])...)
}

// forgedPairings are from a host with a pod address that is no node's.
func (w *network) forgedPairings(s *schema.Service) []pairing {
	var out []pairing
	forger := party{"forger", w.forger(), [2]string{"10.244.77.7", "fd24:0:0:77::7"}, false}
	for i := range families() {
		for what, to := range map[string]netip.AddrPort{
			"cluster IP": netip.AddrPortFrom(s.ClusterIPs[i], 80), "node port": addressPort(nodes[i], s.Ports[0].NodePort),
			"a": addressPort(podsA[i], 8080), "the host": addressPort(nodes[i], 8080), "the other node": addressPort(podsC[i], 8080),
		} {
			for _, protocol := range []string{"tcp", "udp"} {
				out = append(out, pairing{fmt.Sprintf("forger → %s %s/%s", what, to, protocol), forger, protocol, to, true})
			}
		}
	}
	return out
}

// forger is a host on the underlay that answers would find.
func (w *network) forger() *netns {
	n := newNetns(w.t)
	veth(w.lan, "p9", "br0", n, "eth0")
	n.run("ip address add 10.244.77.7/32 dev eth0; ip address add fd24:0:0:77::7/128 dev eth0 nodad")
	n.run("ip route add 192.0.2.1 dev eth0; ip route add default via 192.0.2.1; ip -6 route add 2001:db8::1 dev eth0; ip -6 route add default via 2001:db8::1")
	w.node.run("ip route add 10.244.77.7 dev eth0; ip -6 route add fd24:0:0:77::7 dev eth0")
	return n
}

func addressList(list [2]string) []netip.Addr {
	return []netip.Addr{address(list[0]), address(list[1])}
}

func prefixList(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func parseText(t *testing.T, text string) *schema.Config {
	t.Helper()
	parser, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	config, diagnostics := parser.Parse([]schema.File{{Path: "all.yaml", Content: []byte(text)}})
	if config == nil {
		for _, d := range diagnostics {
			if d.Severity == schema.Error {
				t.Error(d)
			}
		}
		t.FailNow()
	}
	return config
}
