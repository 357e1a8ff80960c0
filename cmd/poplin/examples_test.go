package main

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/daemon"
	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

// TestExamples loads, validates and plans every directory of examples, for
// each of its nodes.
func TestExamples(t *testing.T) {
	trees, err := os.ReadDir(filepath.Join("..", "..", "examples"))
	if err != nil || len(trees) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, tree := range trees {
		t.Run(tree.Name(), func(t *testing.T) {
			dir := filepath.Join("..", "..", "examples", tree.Name())
			config := loadExample(t, dir)
			if len(config.Nodes) == 0 || len(config.Services) == 0 {
				t.Fatal("an example has nodes and services")
			}
			for _, n := range config.Nodes {
				plan, err := daemon.PlanOffline(stateOfExample(config, n), dir, "")
				if err != nil {
					t.Fatalf("%s: %v", n.Name, err)
				}
				checkExample(t, config, n, plan)
			}
		})
	}
}

// loadExample parses a tree, without errors and warnings.
func loadExample(t *testing.T, dir string) *schema.Config {
	t.Helper()
	tree, err := source.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	parser, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	config, diagnostics := parser.Parse(tree.Files)
	if config == nil || len(diagnostics) > 0 {
		t.Fatalf("%+v", diagnostics)
	}
	return config
}

// stateOfExample is a node of the tree that has nothing yet, where every node
// without a pinned subnet has claimed one.
func stateOfExample(config *schema.Config, self *schema.Node) api.State {
	s := api.State{Node: self.Name.Name, RunDir: "/run/poplin", BridgeNetfilter: true, Underlay: compile.Underlay{
		Link: "eth0", Addresses: self.Addresses, MTU: 1500, OnLink: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}}
	s.Members.Joined = true
	for i, n := range config.Nodes {
		if n != self {
			s.Members.Peers = append(s.Members.Peers, overlay.Peer{
				Name: n.Name.Name, State: overlay.PeerAlive, Underlay: n.Addresses, MTU: 1500,
				Backend: string(config.Cluster.Overlay.Backend), Port: config.Cluster.Overlay.Port,
				PublicKey: cmp.Or(n.PublicKey, base64.StdEncoding.EncodeToString(append(make([]byte, 31), byte(i)))),
			})
		}
		claim := netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", 100+i))
		switch {
		case pinned(config, n) > 0:
		case n == self:
			s.Members.Claims = append(s.Members.Claims, overlay.ClaimStatus{Prefix: claim, Stage: overlay.Confirmed})
		default:
			s.Members.Owners = append(s.Members.Owners, overlay.Owner{Prefix: claim, Node: n.Name.Name})
		}
	}
	return s
}

// pinned counts the pinned subnets of a node.
func pinned(config *schema.Config, n *schema.Node) int {
	count := 0
	for _, s := range config.Subnets {
		if s.Node == n.Name.Name {
			count += len(s.CIDRs)
		}
	}
	return count
}

// checkExample looks for what a first plan has at least: the node's pods with
// their resolv.conf, routes to every other node, and a frontend for each
// service with a cluster IP.
func checkExample(t *testing.T, config *schema.Config, n *schema.Node, plan api.Plan) {
	t.Helper()
	if len(plan.Conflicts)+len(plan.Problems)+plan.Summary.Change+plan.Summary.Delete > 0 {
		t.Errorf("%s: %+v %+v %+v", n.Name, plan.Conflicts, plan.Problems, plan.Summary)
	}
	groups := map[string]map[string]int{} // objects of a kind by group
	for _, op := range plan.Operations {
		if groups[op.Group] == nil {
			groups[op.Group] = map[string]int{}
		}
		groups[op.Group][op.Kind]++
	}
	for _, pod := range config.Pods {
		here := pod.NodeName == n.Name.Name && !pod.HostNetwork
		group := groups["pod "+pod.Name.String()]
		if found := group["namespace"] == 1 && group["file"] == 2; found != here {
			t.Errorf("%s: has pod %s: %t", n.Name, pod.Name, found)
		}
	}
	for _, peer := range config.Nodes {
		if want := max(1, pinned(config, peer)); peer != n && groups["peer "+peer.Name.Name]["route"] != want {
			t.Errorf("%s: routes to %s: %v", n.Name, peer.Name, groups["peer "+peer.Name.Name])
		}
	}
	for _, s := range config.Services {
		// Without a cluster IP a service is a name only.
		if found := groups["service "+s.Name.String()]["element"] > 0; found != (len(s.ClusterIPs) > 0) {
			t.Errorf("%s: has something for service %s: %t", n.Name, s.Name, found)
		}
	}
}
