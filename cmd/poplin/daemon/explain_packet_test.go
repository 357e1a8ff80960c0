package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/linux"
	"github.com/poplin-net/poplin/reconciler/nft"
	"github.com/poplin-net/poplin/reconciler/services"
)

// packetText has pods on node-1 and node-2, and services of all sorts.
const packetText = rosterText + `---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: web}, annotations: {poplin/ip: 10.244.1.11}}
spec: {nodeName: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: proxy}
spec: {nodeName: node-1, hostNetwork: true}
---
apiVersion: v1
kind: Pod
metadata: {name: new, annotations: {poplin/ip: 10.244.1.12}}
spec: {nodeName: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: web, far: "yes"}, annotations: {poplin/ip: 10.244.2.11}}
spec: {nodeName: node-2}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.20, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: 10.96.0.21, selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {type: NodePort, clusterIP: 10.96.0.22, internalTrafficPolicy: Local, externalTrafficPolicy: Local, selector: {far: "yes"}, ports: [{port: 80, nodePort: 30022}]}
---
apiVersion: v1
kind: Service
metadata: {name: few}
spec: {type: LoadBalancer, clusterIP: 10.96.0.23, loadBalancerSourceRanges: [203.0.113.0/24], selector: {app: web}, ports: [{port: 80, nodePort: 30023}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {clusterIP: 10.96.0.24, sessionAffinity: ClientIP, selector: {app: web}, ports: [{port: 80}]}
`

// packetCaseOf has the tables that the documents ask for.
func packetCaseOf(t *testing.T, peer overlay.PeerState) packetCase {
	t.Helper()
	f := factsOf(t, packetText, overlay.Snapshot{Joined: true, Peers: []overlay.Peer{{
		Name: "node-2", State: peer, Underlay: addrs("192.0.2.2"), Backend: "udp", Health: true,
		Pods: []overlay.PodEntry{{Namespace: "default", Name: "b", Addresses: addrs("10.244.2.11"), Ready: true}},
	}}})
	f.standing = map[string]bool{"default_a": true}
	g := reach(f, compile.New())
	return packetCase{
		accountState: accountState{facts: f, goal: g}, tables: g.State, hop: packetRoutes,
		clients: func(netip.Addr) (nft.Clients, error) { return nil, nil },
	}
}

// packetRoutes is the routing of node-1.
func packetRoutes(to netip.Addr) linux.NextHop {
	a := netip.MustParseAddr
	for _, r := range []struct {
		prefix string
		hop    linux.NextHop
	}{
		{"127.0.0.0/8", linux.NextHop{Local: true, Source: to}},
		{"192.0.2.1/32", linux.NextHop{Local: true, Source: to}},
		{"10.244.1.0/24", linux.NextHop{Link: "poplin-br0", Source: a("10.244.1.1"), Masquerade: a("10.244.1.1")}},
		{"10.96.0.0/16", linux.NextHop{Link: "poplin-br0", Source: a("10.244.1.1"), Masquerade: a("10.244.1.1")}},
		{"10.244.2.0/24", linux.NextHop{Link: "poplin0", Source: a("10.244.1.0"), Masquerade: a("10.244.1.0")}},
		{"192.0.2.0/24", linux.NextHop{Link: "eth0", Source: a("192.0.2.1"), Masquerade: a("192.0.2.1")}},
		{"10.0.0.0/8", linux.NextHop{Link: "eth0", Gateway: a("192.0.2.254"), Source: a("192.0.2.1"), Masquerade: a("192.0.2.1")}},
	} {
		if netip.MustParsePrefix(r.prefix).Contains(to) {
			return r.hop
		}
	}
	return linux.NextHop{Refused: "no route"}
}

// lines writes a trace shortly.
func packetLines(trace api.PacketExplanation) string {
	out := []string{fmt.Sprintf("%s %s %s", trace.From.Pod, trace.From.Node, trace.From.Address)}
	for _, w := range trace.Ways {
		line := fmt.Sprintf("%.0f%% %s", 100*w.Share, w.Outcome)
		if w.Outcome == "forwarded" || w.Outcome == "delivered" {
			line += fmt.Sprintf(" %s %s@%s %s from %s", w.Destination, w.Endpoint.Pod, w.Endpoint.Node, w.Link, w.Source)
		}
		if w.Reason != "" {
			line += ": " + w.Reason
		}
		out = append(out, line)
	}
	for _, n := range trace.Notes {
		out = append(out, "note: "+n)
	}
	return strings.Join(out, "\n")
}

func TestExplainPacket(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"default/a", "10.96.0.20:80/tcp", "default/a node-1 10.244.1.11\n50% forwarded 10.244.1.11:80 default/a@node-1 poplin-br0 from 10.244.1.1\n50% forwarded 10.244.2.11:80 default/b@node-2 poplin0 from 10.244.1.11"},
		{"", "10.96.0.20:80", " node-1 10.244.1.1\n50% forwarded 10.244.1.11:80 default/a@node-1 poplin-br0 from 10.244.1.1\n50% forwarded 10.244.2.11:80 default/b@node-2 poplin0 from 10.244.1.1"},
		{"192.0.2.77", "192.0.2.1:30080", "  192.0.2.77\n50% forwarded 10.244.1.11:80 default/a@node-1 poplin-br0 from 192.0.2.77\n50% forwarded 10.244.2.11:80 default/b@node-2 poplin0 from 10.244.1.0"},
		{"a", "10.96.0.20:80/udp", "default/a node-1 10.244.1.11\n100% refused: not a frontend: port 80/udp; default/web has 80/tcp"},
		{"a", "10.96.0.99:80", "default/a node-1 10.244.1.11\n100% refused: not a frontend: no service has the address 10.96.0.99"},
		{"a", "10.96.0.21:80", "default/a node-1 10.244.1.11\n100% refused: service default/nobody has no ready endpoints"},
		{"a", "10.96.0.22:80", "default/a node-1 10.244.1.11\n100% dropped: internalTrafficPolicy of service default/near is Local, and no endpoint is on this node"},
		{"192.0.2.77", "192.0.2.1:30022", "  192.0.2.77\n100% dropped: externalTrafficPolicy of service default/near is Local, and no endpoint is on this node"},
		{"a", "192.0.2.1:30022", "default/a node-1 10.244.1.11\n100% forwarded 10.244.2.11:80 default/b@node-2 poplin0 from 10.244.1.11"},
		{"192.0.2.77", "192.0.2.1:30023", "  192.0.2.77\n100% dropped: source 192.0.2.77 is not in loadBalancerSourceRanges of service default/few"},
		{"10.244.77.1", "10.244.1.11:80", "  10.244.77.1\n100% dropped: source 10.244.77.1 is forged: no peer's pods with that address are behind eth0"},
		{"192.0.2.77", "192.0.2.1:8285/udp", "  192.0.2.77\n100% dropped: port 8285 is a tunnel's, and no peer has the address 192.0.2.77"},
		{"a", "10.96.0.20", "default/a node-1 10.244.1.11\n100% delivered 10.96.0.20:0 @  from 10.244.1.11"},
		{"a", "10.244.2.99:80", "default/a node-1 10.244.1.11\n100% forwarded 10.244.2.99:80 @node-2 poplin0 from 10.244.1.11: no pod has the address 10.244.2.99"},
		{"a", "10.244.77.1:80", "default/a node-1 10.244.1.11\n100% forwarded 10.244.77.1:80 @ eth0 from 10.244.1.11: no node has a subnet with 10.244.77.1"},
		{"a", "10.244.9.5:80", "default/a node-1 10.244.1.11\n100% forwarded 10.244.9.5:80 @router eth0 from 10.244.1.11"}, // an external node tells of no pods
		{"a", "198.51.100.1:80", "default/a node-1 10.244.1.11\n100% unrouted: this host's routing has no way to 198.51.100.1: no route"},
		{"", "127.0.0.1:30080", " node-1 127.0.0.1\n100% delivered 127.0.0.1:30080 @  from 127.0.0.1: node port 30080 of service default/web does not answer on 127.0.0.1 (nodePortAddresses of the Cluster): the host itself gets it"},
		{"proxy", "10.244.1.12:80", "default/proxy node-1 10.244.1.1\n100% forwarded 10.244.1.12:80 default/new@node-1 poplin-br0 from 10.244.1.1: pod default/new has no interface yet"},
		{"new", "192.0.2.1:22", "default/new node-1 10.244.1.12\n100% delivered 192.0.2.1:22 @node-1  from 10.244.1.12: not a frontend: the host itself gets it\nnote: pod default/new has no interface yet"},
		{"b", "10.244.1.11:80", "default/b node-2 10.244.2.11\n100% forwarded 10.244.1.11:80 default/a@node-1 poplin-br0 from 10.244.2.11\nnote: this is what node-1 does with a packet that node-2 lets through unchanged: ask there, too"},
		{"node-2", "192.0.2.1:30022", " node-2 192.0.2.2\n100% dropped: externalTrafficPolicy of service default/near is Local, and no endpoint is on this node\nnote: this is what node-1 does with a packet that node-2 lets through unchanged: ask there, too"},
		{"a", "10.244.1.11:80", "default/a node-1 10.244.1.11\n100% forwarded 10.244.1.11:80 default/a@node-1 poplin-br0 from 10.244.1.11\nnote: the packet does not leave the pod, whatever is said here"},
		{"192.0.2.1", "10.96.0.24:80", " node-1 192.0.2.1\n50% forwarded 10.244.1.11:80 default/a@node-1 poplin-br0 from 192.0.2.1\n50% forwarded 10.244.2.11:80 default/b@node-2 poplin0 from 10.244.1.0\nnote: session affinity: the client will stay with the endpoint that it gets"},
	} {
		p := packetCaseOf(t, overlay.PeerAlive)
		if got := packetLines(p.ask(t, c.from, c.to)); got != c.want {
			t.Errorf("%s → %s: got\n%s\nwant\n%s", c.from, c.to, got, c.want)
		}
	}
}

func (p packetCase) ask(t *testing.T, from, to string) api.PacketExplanation {
	t.Helper()
	target, err := api.ParsePacketTarget(to)
	if err != nil {
		t.Fatal(err)
	}
	p.query = api.PacketQuery{From: from, To: target}
	trace, err := p.explain()
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

func TestExplainPacketTowardsAFailedNode(t *testing.T) {
	p := packetCaseOf(t, overlay.PeerFailed)
	const direct = "default/a node-1 10.244.1.11\n100% forwarded 10.244.2.11:80 default/b@node-2 poplin0 from 10.244.1.11: node node-2 has failed"
	if got := packetLines(p.ask(t, "a", "10.244.2.11:80")); got != direct {
		t.Error(got)
	}
	if got := p.ask(t, "a", "10.96.0.20:80"); len(got.Ways) != 1 || got.Ways[0].Endpoint.Pod != "default/a" {
		t.Error(packetLines(got))
	}
}

// TestExplainPacketToTheDaemon: it answers on some ports itself.
func TestExplainPacketToTheDaemon(t *testing.T) {
	p := packetCaseOf(t, overlay.PeerAlive)
	web := p.goal.Services[len(p.goal.Services)-1].Document
	p.goal.Outside = services.Outside{
		HealthChecks: []services.HealthCheck{{Service: web, Port: 31000}},
		LocalPorts:   []services.LocalPort{{Service: web, At: netip.MustParseAddrPort("127.0.0.1:30080"), Target: netip.MustParseAddrPort("10.96.0.20:80")}},
	}
	for to, want := range map[string]string{
		"127.0.0.1:30080": "the daemon answers, and connects on to 10.96.0.20:80 of service default/web (localhostNodePorts)",
		"192.0.2.1:31000": "the daemon answers: it is the health check of service default/web",
	} {
		if got := p.ask(t, "", to); got.Ways[0].Reason != want {
			t.Errorf("%s: %s", to, packetLines(got))
		}
	}
}

// Without a table there are no services, and that is said.
func TestExplainPacketWithoutTable(t *testing.T) {
	p := packetCaseOf(t, overlay.PeerAlive)
	p.tables = reconciler.State{}
	trace := p.ask(t, "a", "10.96.0.20:80")
	if len(trace.Notes) != 1 || !strings.HasPrefix(trace.Notes[0], "there is no table ip poplin") || trace.Ways[0].Translated {
		t.Error(packetLines(trace))
	}
}

func TestExplainPacketOfNobody(t *testing.T) {
	p := packetCaseOf(t, overlay.PeerAlive)
	for from, want := range map[string]string{
		"default/none": "no node knows of such a pod", "node-9": "no node knows", "a/b/c": "neither a pod",
		"fd00::1": "has no address of IPv4", "default/a": "has no address of IPv6",
	} {
		to := "10.96.0.20:80"
		if strings.HasSuffix(want, "IPv6") {
			to = "[fd96::20]:80"
		}
		target, err := api.ParsePacketTarget(to)
		if err != nil {
			t.Fatal(err)
		}
		p.query = api.PacketQuery{From: from, To: target}
		if _, err := p.explain(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", from, err, want)
		}
	}
}
