package main

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// samplePacket is what a pod's packet to a service comes to: an endpoint on
// the same bridge, one on another node, a rare one outside.
func samplePacket() api.PacketExplanation {
	web := api.Origin{File: "services/web.yaml", Line: 3}
	gateway := netip.MustParseAddr("192.0.2.254")
	element := func(set, key string) []api.PacketElement {
		return []api.PacketElement{{Set: set, Key: key, Group: "service default/web", Origin: web}}
	}
	way := func(share float64, to, pod, node, link string) api.PacketWay {
		d := netip.MustParseAddrPort(to)
		return api.PacketWay{
			Share: share, Outcome: "forwarded", Destination: d, Endpoint: api.PacketEnd{Address: d.Addr(), Pod: pod, Node: node},
			Translated: true, Source: netip.MustParseAddr("10.244.1.3"), Link: link,
		}
	}
	masqueraded := way(0.0423, "203.0.113.7:8080", "", "", "eth0")
	masqueraded.Masqueraded, masqueraded.Source, masqueraded.Gateway = true, netip.MustParseAddr("192.0.2.1"), &gateway
	lost := way(0.1, "10.244.3.7:8080", "", "node-3", "poplin0")
	lost.Reason = "no pod has the address 10.244.3.7"
	host := way(0.1577, "192.0.2.1:8080", "", "node-1", "")
	host.Outcome = "delivered"
	return api.PacketExplanation{
		Node: "node-1", To: "10.96.0.10:80/tcp",
		From: api.PacketEnd{Address: netip.MustParseAddr("10.244.1.3"), Pod: "default/client", Node: "node-1"},
		Steps: []api.PacketStep{
			{Hook: "prerouting", Chain: "prerouting", Rule: "jump frontends", Verdict: "jump frontends"},
			{Hook: "prerouting", Chain: "frontends", Rule: "…", Verdict: "goto external", Elements: element("services", "10.96.0.10 . tcp . 80")},
			{Hook: "prerouting", Chain: "external", Rule: "…", Verdict: "goto pick-3", Elements: element("inside-services", "10.96.0.10 . tcp . 80")},
			{Hook: "prerouting", Chain: "pick-3", Rule: "…", Elements: element("connections", "10.96.0.10 . tcp . 80")},
		},
		Ways: []api.PacketWay{
			way(0.4, "10.244.1.4:8080", "default/web-1", "node-1", "poplin-br0"),
			way(0.3, "10.244.2.9:8080", "default/web-2", "node-2", "poplin0"), host, lost, masqueraded,
		},
		Notes: []string{"session affinity: the client will stay with the endpoint that it gets"},
	}
}

func TestPacketText(t *testing.T) {
	refused := samplePacket()
	refused.From, refused.Notes = api.PacketEnd{Address: netip.MustParseAddr("198.51.100.7")}, nil
	refused.Ways = []api.PacketWay{{Share: 1, Outcome: "refused", Reason: "service default/web has no ready endpoints"}}
	ping := samplePacket()
	ping.To, ping.Notes = "10.96.0.10", nil
	ping.Steps = []api.PacketStep{{
		Hook: "prerouting", Chain: "frontends", Verdict: "redirect",
		Elements: []api.PacketElement{{Set: "load-balancer-addresses", Key: "192.0.2.240", Group: "nftables", Origin: api.Origin{File: "cluster.yaml", Line: 1}}},
	}}
	ping.Ways = []api.PacketWay{{Share: 1, Outcome: "delivered", Destination: netip.MustParseAddrPort("192.0.2.240:0"), Source: ping.From.Address}}
	for name, trace := range map[string]api.PacketExplanation{"packet": samplePacket(), "packet-refused": refused, "packet-ping": ping} {
		var out bytes.Buffer
		must(t, writePacket(&out, trace))
		golden(t, name, out.String())
	}
}
