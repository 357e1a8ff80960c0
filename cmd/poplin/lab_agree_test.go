//go:build linux

package main

import (
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

func TestLabDisagreement(t *testing.T) {
	one := func(node string, change func(*api.Status)) api.Status {
		s := api.Status{Node: node, Digest: "d", LedgerDigest: "l", Endpoints: 2, EndpointsReady: 2,
			Pods: []api.Pod{{Name: "p", Ready: true}, {Name: "h", Ready: true, HostNetwork: true}}}
		for _, peer := range []string{"a", "b"} {
			if peer != node {
				s.Peers = append(s.Peers, api.Peer{Name: peer, State: "alive", Pods: 1, PodsReady: 1})
			}
		}
		change(&s)
		return s
	}
	tests := []struct {
		name   string
		change func(*api.Status)
		want   string
	}{
		{"one picture", func(*api.Status) {}, ""},
		{"claims", func(s *api.Status) { s.LedgerDigest = "m" }, "a and b know different claims"},
		{"endpoints", func(s *api.Status) { s.EndpointsReady = 1 }, "a has 2 of 2 endpoints ready, b 1 of 2"},
		{"pods of a peer", func(s *api.Status) { s.Peers[0].PodsReady = 0 }, "b knows 0 of 1 pods of a"},
		{"other documents", func(s *api.Status) { s.Digest, s.Endpoints = "e", 9 }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := labDisagreement([]api.Status{one("a", func(*api.Status) {}), one("b", test.change)})
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
