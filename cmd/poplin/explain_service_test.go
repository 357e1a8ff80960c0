package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

func origin(file string, line int) api.Origin {
	return api.Origin{File: file, Line: line, Revision: "main@1"}
}

// explainedWeb is a service with a node port, both policies' kinds of lists,
// and a restricted load balancer.
func explainedWeb() api.ServiceExplanation {
	counted := &api.Counters{Connections: 12345}
	frontend := func(kind, address string, port uint16) api.Frontend {
		f := api.Frontend{Kind: kind, Family: "IPv4", Protocol: "TCP", Port: port, PortName: "http", Counters: counted}
		if address != "" {
			f.Address = netip.MustParseAddr(address)
		}
		return f
	}
	return api.ServiceExplanation{
		Node: "node-1", Revision: "main@1", Namespace: "default", Name: "web", Origin: origin("web.yaml", 3), Type: "LoadBalancer",
		Selector: map[string]string{"tier": "front", "app": "web"}, Notes: []string{"externalTrafficPolicy Local"},
		Ports: []api.ExplainedPort{{
			Name: "http", Protocol: "TCP", Port: 80, TargetPort: "http", Family: "IPv4", Slots: 4, LocalSlots: 1,
			Frontends: []api.ExplainedFrontend{
				{Frontend: frontend("clusterIP", "10.96.0.20", 80), To: "all"},
				{Frontend: frontend("nodePort", "", 30080), To: "all", Outside: "local", Affinity: 10800},
				{Frontend: frontend("loadBalancer", "198.51.100.7", 80), To: "all", Outside: "local", Restricted: true, Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			},
			Endpoints: []api.ExplainedEndpoint{
				{Pod: "default/web-1", Node: "node-1", Address: "10.244.1.2:8080", Origin: origin("web.yaml", 12), In: true, Slots: 1, LocalSlots: 1, Reason: "ready"},
				{Pod: "default/web-2", Node: "node-2", Address: "10.244.2.2:8080", Origin: origin("web.yaml", 19), In: true, Slots: 3, Reason: "ready; on another node, so out where the policy is Local"},
				{Pod: "default/web-3", Node: "node-3", Origin: origin("web.yaml", 26), Reason: "node-3 does not tell of it yet"},
			},
		}},
		NotSelected: []api.ExplainedEndpoint{{Pod: "default/old", Origin: origin("old.yaml", 1), Reason: `its label tier is "back", not "front"`}},
		Elements: []api.ExplainedElement{
			{Text: "chain ip poplin pick-4", InKernel: true},
			{Text: "element ip poplin services { 10.96.0.20 . tcp . 80 : pick-4 }"},
		},
	}
}

func TestServiceExplanationText(t *testing.T) {
	nobody := explainedWeb()
	nobody.Selector = nil
	nobody.NotSelected, nobody.Elements = nil, nil
	port := &nobody.Ports[0]
	port.Slots, port.LocalSlots, port.Endpoints = 0, 0, []api.ExplainedEndpoint{{Slice: "default/web-x", Origin: origin("slice.yaml", 9), Reason: `has no port named "http" (TCP)`}}
	port.Frontends[0].To, port.Frontends[0].Counters = "refused", nil
	port.Frontends[1].To, port.Frontends[1].Outside = "dropped", ""
	port.Frontends[2].Outside, port.Frontends[2].Sources = "dropped", nil

	hash := explainedWeb()
	hash.Ports = append(hash.Ports, api.ExplainedPort{Family: "IPv6", Frontends: []api.ExplainedFrontend{
		{Frontend: api.Frontend{Kind: "clusterIP", Family: "IPv6", Address: netip.MustParseAddr("fd96::1"), Protocol: "UDP", Port: 10000, LastPort: 10999}, To: "local", HashSlots: 1021}}})
	for i := range 2 * shownElements {
		hash.Elements = append(hash.Elements, api.ExplainedElement{Text: fmt.Sprintf("element %d", i), InKernel: i%50 != 49})
	}

	headless := api.ServiceExplanation{Node: "node-1", Revision: "main@1", Namespace: "default", Name: "db", Type: "ClusterIP", Origin: origin("db.yaml", 1),
		Notes: []string{"headless: it has no frontends, only endpoints"}, Selector: map[string]string{"app": "db"},
		Ports: []api.ExplainedPort{{Family: "IPv4", Slots: 1, Endpoints: []api.ExplainedEndpoint{{Pod: "default/db", Node: "node-1", Address: "10.244.1.3", Origin: origin("db.yaml", 9), In: true, Slots: 1, Reason: "ready"}}}}}
	for name, e := range map[string]api.ServiceExplanation{
		"explain-service": explainedWeb(), "explain-service-nobody": nobody, "explain-service-hash": hash, "explain-service-headless": headless,
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			must(t, writeServiceExplanation(&out, e))
			golden(t, name, out.String())
		})
	}
}
